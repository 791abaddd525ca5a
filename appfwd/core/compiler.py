"""Desired state to artefacts: the whole compile, a function of its arguments alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from appfwd.core.audience import Base, NamedByContent, PacketTypes, label_cells
from appfwd.core.cells import cells
from appfwd.core.machine import Machine
from appfwd.core.module import Module, kernel_rights
from appfwd.core.table import Table, compile_table
from appfwd.model.policy import Rights
from appfwd.model.state import Bridge, DesiredState, Grant


@dataclass(frozen=True)
class Artefacts:
    """What the kernel shall have.

    ``spare`` are types worth having whenever policy is loaded, ``ready`` those that are worth a
    load of their own.
    """

    module: Module
    table: Table
    bridge: Bridge = Bridge.OPEN
    active: bool = True
    spare: Module = field(default_factory=Module)
    ready: Module = field(default_factory=Module)


def compile_state(
    state: DesiredState,
    machine: Machine,
    types: PacketTypes | None = None,
    ready: Collection[Grant] = (),
) -> Artefacts:
    """Compile ``state`` for ``machine``.

    ``ready`` are grants that may come next: the types that each would need, were it alone to come,
    are among the artefacts.

    Domains that the policy no longer has (their package is gone) get nothing; their grants stay
    in the desired state and count again when the domain is back.
    """
    settings = state.settings
    if not settings.active:
        return Artefacts(Module(), Table(), settings.bridge, active=False)
    types = types or NamedByContent()
    policy, contexts, bridge = machine.policy, machine.contexts, settings.bridge
    state = present(state, policy.domains)
    ready = [grant for grant in ready if grant.domain in policy.domains]
    own = kernel_rights(contexts)
    base = Base.of(state, machine)
    labelled = label_cells(cells(state), base, types, own)
    table = compile_table(
        labelled, base.baseline, bridge, contexts, machine.ephemeral, fenced=bool(state.fences)
    )
    module = Module(
        {cell.packet_type: cell.rights for cell in labelled},
        # The bridge is needed as soon as one object is there; before, nothing of ours need be.
        bridge=bridge.passes and bool(table.contexts),
        observed=bool(table.sets),
        strict=settings.strict,
        fenced=frozenset(base.fences),
    )
    spare = _spare(state.domains(), types, own)
    prepared = _ready(state, ready, base, types, own)
    return Artefacts(module, table, bridge, spare=spare, ready=prepared)


def present(state: DesiredState, domains: frozenset[str]) -> DesiredState:
    """Return the state without what it says of domains that the policy lacks."""
    return replace(
        state,
        grants=frozenset(grant for grant in state.grants if grant.domain in domains),
        fences=frozenset(fence for fence in state.fences if fence.domain in domains),
    )


def _ready(
    state: DesiredState, grants: Collection[Grant], base: Base, types: PacketTypes, own: Rights
) -> Module:
    """Return the types that each of some grants would need beside what is there already."""
    needed: dict[str, Rights] = {}
    for grant in grants:
        place = grant.destination
        near = replace(
            state,
            guards=frozenset(g for g in state.guards if g.destination.overlaps(place)),
            grants=frozenset(g for g in state.grants if g.destination.overlaps(place)) | {grant},
        )
        labelled = label_cells(cells(near), base, types, own)
        needed.update((cell.packet_type, cell.rights) for cell in labelled)
    return Module(needed)


def _spare(domains: frozenset[str], types: PacketTypes, own: Rights) -> Module:
    """Return the audiences that the next change most often asks for: one domain, and nobody."""
    likely = [Rights(), *(Rights.both(frozenset({domain})) - own for domain in sorted(domains))]
    return Module({types.type_for(rights): rights for rights in likely})
