"""Desired state to artefacts: the whole compile, a function of its arguments alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from appfwd.core.audience import Base, NamedByContent, PacketTypes, label_cells
from appfwd.core.baseline import Baseline
from appfwd.core.cells import Cell, Claim, cells
from appfwd.core.module import Module, kernel_rights
from appfwd.core.table import Table, compile_table
from appfwd.model.policy import KernelContexts, LoadedPolicy, Rights
from appfwd.model.services import Interval
from appfwd.model.state import Bridge, DesiredState


@dataclass(frozen=True)
class Machine:
    """What the compiler must know of this machine.

    ``ephemeral`` is the range of local ports that clients get (ip_local_port_range, ip(7));
    ``baseline`` are the labels that the policy itself has for every port (a function of it, kept
    beside it since it takes some milliseconds).
    """

    policy: LoadedPolicy
    contexts: KernelContexts
    ephemeral: Interval
    baseline: Baseline


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
    settings = state.settings
    if not settings.active:
        return Artefacts(Module(), Table(), settings.bridge, active=False)
    types = types or NamedByContent()
    policy, contexts, bridge = machine.policy, machine.contexts, settings.bridge
    found = (_present(cell, policy.domains) for cell in cells(state))
    own = kernel_rights(contexts)
    baseline = machine.baseline if settings.baseline else Baseline()
    labelled = label_cells(found, Base(bridge, policy, baseline), types, own)
    table = compile_table(labelled, baseline, bridge, contexts, machine.ephemeral)
    module = Module(
        {cell.packet_type: cell.rights for cell in labelled},
        # The bridge is needed as soon as one object is there; before, nothing of ours need be.
        bridge=bridge.passes and bool(table.contexts),
        observed=bool(table.sets),
        strict=settings.strict,
    )
    spare = _spare(state.domains() & policy.domains, types, own)
    return Artefacts(module, table, bridge, spare=spare)


def _present(cell: Cell, domains: frozenset[str]) -> Cell:
    claim = Claim(cell.claim.guarded, cell.claim.granted & domains)
    return replace(cell, claim=claim)


def _spare(domains: frozenset[str], types: PacketTypes, own: Rights) -> Module:
    """Return the audiences that the next change most often asks for: one domain, and nobody."""
    likely = [Rights(), *(Rights.both(frozenset({domain})) - own for domain in sorted(domains))]
    return Module({types.type_for(rights): rights for rights in likely})
