"""Desired state to artefacts: the whole compile, a function of its arguments alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

from appfwd.core.audience import Base, Labeller
from appfwd.core.cells import Layers, are_points, layers
from appfwd.core.elements import Elements
from appfwd.core.machine import Machine
from appfwd.core.module import Module, kernel_rights
from appfwd.core.places import Places, by_domain
from appfwd.core.steps import Difference, stepped
from appfwd.core.table import Table, compile_table
from appfwd.model.policy import Rights
from appfwd.model.slots import can_be_enrolled
from appfwd.model.state import Bridge, DesiredState, Grant, Guard
from appfwd.model.tracked import is_near

#: Guards, and grants, that differ where a compile takes no time, and the labels that there are.
_QUICK_AT_MOST, _LABELS_AT_MOST = 10, 200


@dataclass(frozen=True)
class Artefacts:
    """What the kernel shall have.

    ``spare`` are types worth having whenever policy is loaded, ``ready`` those that are worth a
    load of their own. ``enrol`` are the domains that are worth enrolling then (see
    appfwd.core.pool), those that are granted most first, and ``groups`` who may use what is not
    guarded anyway, without the kernel, the largest first.
    """

    module: Module
    table: Table
    bridge: Bridge = Bridge.OPEN
    active: bool = True
    spare: Module = field(default_factory=Module)
    ready: Module = field(default_factory=Module)
    enrol: tuple[str, ...] = ()
    groups: tuple[Rights, ...] = ()


def compile_state(
    state: DesiredState,
    machine: Machine,
    ready: Collection[Grant] = (),
) -> Artefacts:
    """Compile ``state`` for ``machine``, the whole of it.

    ``ready`` are grants that may come next: the types that each would need, were it alone to come,
    are among the artefacts.

    Domains that the policy no longer has (their package is gone) get nothing; their grants stay
    in the desired state and count again when the domain is back.
    """
    return _whole(state, machine).artefacts(ready)


@dataclass(frozen=True)
class Compiled:
    """A compiled state, from which one that differs little is compiled quickly.

    ``granted`` counts the grants of each domain.
    """

    state: DesiredState
    machine: Machine
    base: Base
    labeller: Labeller
    layers: Layers
    elements: Elements
    table: Table
    granted: Counter[str]

    def artefacts(self, ready: Collection[Grant] = ()) -> Artefacts:
        """Return what the kernel shall have; ``ready`` as for :func:`compile_state`."""
        settings, table = self.state.settings, self.table
        bridge = settings.bridge
        if not settings.active:
            return Artefacts(Module(), Table(), bridge, active=False)
        module = Module(
            {name: self.labeller.types[name] for name in self.elements.labels()},
            # The bridge is needed as soon as one object is there; before, nothing of ours need be.
            bridge=bridge.passes and bool(table.contexts),
            observed=bool(table.sets),
            strict=settings.strict,
            fenced=frozenset(self.base.fences),
        )
        spare = _spare(self.granted, self.labeller)
        return Artefacts(
            module,
            table,
            bridge,
            spare=spare,
            ready=self._ready(ready),
            enrol=self._enrolled(ready),
            groups=self.labeller.groups,
        )

    def _enrolled(self, ready: Collection[Grant]) -> tuple[str, ...]:
        domains = self.machine.policy.domains
        counts = self.granted + Counter({grant.domain for grant in ready} & domains)
        most_first = sorted(counts, key=lambda domain: (-counts[domain], domain))
        return tuple(filter(can_be_enrolled, most_first))

    def _ready(self, grants: Collection[Grant]) -> Module:
        """Return the types that each of some grants would need beside what is there already."""
        needed: dict[str, Rights] = {}
        if not grants:
            return Module()
        domains = self.machine.policy.domains
        state = present(self.state, domains)
        guarded = Places(guard.destination for guard in state.guards)
        granted = by_domain((grant.domain, grant.destination) for grant in state.grants)
        for grant in (grant for grant in grants if grant.domain in domains):
            place = grant.destination
            others = (Grant(name, one) for name in granted for one in granted[name].meeting(place))
            near = replace(
                state,
                guards=frozenset(map(Guard, guarded.meeting(place))),
                grants=frozenset({grant, *others}),
            )
            labeller = self.labeller.anew()
            _labelled(labeller, layers(near))
            needed.update(labeller.types)
        return Module(needed)


def compile_next(before: Compiled | None, state: DesiredState, machine: Machine) -> Compiled:
    """Compile ``state`` from the one before, where that is known; what comes of it is the same.

    Grants and guards that came or went cost what they touch; all else is compiled whole.
    """
    if before is None or before.machine != machine:
        return _whole(state, machine)
    return _stepped(before, state) or _whole(state, machine)


def is_quick(before: Compiled | None, state: DesiredState, machine: Machine) -> bool:
    """Tell whether compiling ``state`` from the one before takes no time: few points differ.

    Nor are there so many labels that planning takes long.
    """
    if before is None or before.machine != machine or not state.settings.active:
        return False
    old, elements = before.state, before.elements
    near = (
        len(elements.used) + len(elements.below) <= _LABELS_AT_MOST
        and old.settings == state.settings
        and old.fences == state.fences
        and is_near(old.guards, state.guards, _QUICK_AT_MOST)
        and is_near(old.grants, state.grants, _QUICK_AT_MOST)
    )
    return near and all(are_points(member.destination) for member, _ in _changes(old, state))


def _whole(state: DesiredState, machine: Machine) -> Compiled:
    active = state.settings.active
    there = present(state, machine.policy.domains) if active else DesiredState()
    base = Base.of(there if active else state, machine)
    labeller, found = Labeller(base, kernel_rights(machine.contexts)), layers(there)
    elements = _labelled(labeller, found)
    table = _table(elements, base, machine) if active else Table()
    granted = Counter(grant.domain for grant in there.grants)
    return Compiled(state, machine, base, labeller, found, elements, table, granted)


def _labelled(labeller: Labeller, found: Layers) -> Elements:
    return Elements.of(labeller.cells(found.cells), labeller.points(found))


def _table(elements: Elements, base: Base, machine: Machine) -> Table:
    return compile_table(
        elements,
        base.baseline,
        base.bridge,
        machine.contexts,
        machine.ephemeral,
        fenced=bool(base.fences),
    )


def _stepped(before: Compiled, state: DesiredState) -> Compiled | None:
    """Compile what differs from the state before; None where that is no quicker than the whole."""
    old = before.state
    if old.settings != state.settings or old.fences != state.fences or not state.settings.active:
        return None
    differences = [
        (member, came)
        for member, came in _changes(old, state)
        if isinstance(member, Guard) or member.domain in before.machine.policy.domains
    ]
    step = stepped(before.layers, differences)
    if step is None:
        return None
    granted = before.granted.copy()
    for member, came in differences:
        if isinstance(member, Grant):
            granted[member.domain] += 1 if came else -1
    layered, labeller = step.layers, before.labeller
    labelled = {
        (where, point): labeller.point(layered, where, point)
        if point in layered.points[where]
        else None
        for where, point in step.touched
    }
    had, has = before.elements, before.elements.changed(labelled)
    for where in step.recut:
        has = has.recut(where, labeller.cells(layered.cut[where]))
    if (had.names(), had.labels(), had.spans) == (has.names(), has.labels(), has.spans):
        table = replace(before.table, maps=has.maps, points=has.points)
    else:
        table = _table(has, before.base, before.machine)
    return replace(before, state=state, layers=layered, elements=has, table=table, granted=+granted)


def _changes(old: DesiredState, new: DesiredState) -> Iterator[Difference]:
    """Yield the guards and grants that went and those that came, and which it was."""
    yield from ((member, False) for member in old.guards - new.guards)
    yield from ((member, False) for member in old.grants - new.grants)
    yield from ((member, True) for member in new.guards - old.guards)
    yield from ((member, True) for member in new.grants - old.grants)


def present(state: DesiredState, domains: frozenset[str]) -> DesiredState:
    """Return the state without what it says of domains that the policy lacks."""
    return replace(
        state,
        grants=frozenset(grant for grant in state.grants if grant.domain in domains),
        fences=frozenset(fence for fence in state.fences if fence.domain in domains),
    )


def _spare(domains: Iterable[str], labeller: Labeller) -> Module:
    """Return the audiences that the next change most often asks for: one domain, and nobody."""
    likely = [Rights(), *(Rights.both(frozenset({domain})) for domain in sorted(domains))]
    return Module(dict(labeller.type_of(rights) for rights in likely))
