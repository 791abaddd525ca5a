"""Desired state to artefacts: the whole compile, a function of its arguments alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from appfwd.core.audience import NamedByContent, PacketTypes, label_cells
from appfwd.core.cells import Cell, Claim, cells
from appfwd.core.module import Module, kernel_rights
from appfwd.core.table import Table, compile_table
from appfwd.model.policy import KernelContexts, LoadedPolicy, Rights
from appfwd.model.services import Interval
from appfwd.model.state import Bridge, DesiredState


@dataclass(frozen=True)
class Machine:
    """What the compiler must know of this machine.

    ``ephemeral`` is the range of local ports that clients get (ip_local_port_range, ip(7)).
    """

    policy: LoadedPolicy
    contexts: KernelContexts
    ephemeral: Interval


@dataclass(frozen=True)
class Artefacts:
    """What the kernel shall have. ``spare`` are types worth having whenever policy is loaded."""

    module: Module
    table: Table
    bridge: Bridge = Bridge.OPEN
    active: bool = True
    spare: Module = field(default_factory=Module)


def compile_state(
    state: DesiredState, machine: Machine, types: PacketTypes | None = None
) -> Artefacts:
    """Compile ``state`` for ``machine``.

    Domains that the policy no longer has (their package is gone) get nothing; their grants stay
    in the desired state and count again when the domain is back.
    """
    if not state.settings.active:
        return Artefacts(Module(), Table(), state.settings.bridge, active=False)
    types = types or NamedByContent()
    policy = machine.policy
    found = (_present(cell, policy.domains) for cell in cells(state))
    own = kernel_rights(machine.contexts)
    labelled = label_cells(found, state.settings.bridge, policy.unlabeled, types, own)
    bridge = state.settings.bridge
    # The bridge is needed as soon as one object is there; before, nothing of ours need be.
    bridged = bridge is Bridge.OPEN and bool(labelled)
    module = Module({cell.packet_type: cell.rights for cell in labelled}, bridged)
    table = compile_table(labelled, machine.contexts, machine.ephemeral)
    spare = _spare(state.domains() & policy.domains, types, own)
    return Artefacts(module, table, bridge, spare=spare)


def _present(cell: Cell, domains: frozenset[str]) -> Cell:
    claim = Claim(cell.claim.guarded, cell.claim.granted & domains)
    return replace(cell, claim=claim)


def _spare(domains: frozenset[str], types: PacketTypes, own: Rights) -> Module:
    """Return the audiences that the next change most often asks for: one domain, and nobody."""
    likely = [Rights(), *(Rights.both(frozenset({domain})) - own for domain in sorted(domains))]
    return Module({types.type_for(rights): rights for rights in likely})
