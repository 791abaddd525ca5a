"""Who gains and who loses by a change of the desired state, and where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from appfwd.core.audience import Base
from appfwd.core.cells import Box, Claim, boxes, claim_of, placed
from appfwd.core.compiler import present
from appfwd.core.lines import Segment, within
from appfwd.core.machine import Machine
from appfwd.model.destination import Destination, Direction
from appfwd.model.fence import Fence
from appfwd.model.policy import Rights
from appfwd.model.services import Interval, Service
from appfwd.model.state import DesiredState, Guard, Member


@dataclass(frozen=True)
class Effect:
    """Domains that reach ``where`` after a change and did not before, and the other way about."""

    where: tuple[Box[None], ...]
    gains: frozenset[str]
    loses: frozenset[str]


#: Who gains, and who loses.
_Change = tuple[frozenset[str], frozenset[str]]
_NOTHING: _Change = (frozenset(), frozenset())
#: Members that are few: looking what is near each costs less than cutting all.
_FEW = 16


def effects(before: DesiredState, after: DesiredState, machine: Machine) -> tuple[Effect, ...]:
    """Return what a change comes to, in a fixed order; a place is of one effect at most.

    What policy lets a domain do whose fence goes is what it let it do when it was fenced.
    """
    machine = unfenced(machine, _gone(before, after))
    old, new = _Reach(before, machine), _Reach(after, machine)
    runs = lru_cache(None)(partial(_runs, old, new, machine))
    found: dict[_Change, list[Box[None]]] = defaultdict(list)
    alike, voices = old.base == new.base, _Voices()
    for box in boxes(voices.both(old.state, new.state, alike=alike), voices.claims):
        if alike and box.said[0] == box.said[1]:
            continue
        for services, change in _clipped(runs(box.direction, box.said), box.services):
            found[change].append(Box(box.direction, box.peer, services, None))
    return tuple(Effect(tuple(_joined(where)), *key) for key, where in found.items())


def _runs(
    old: _Reach, new: _Reach, machine: Machine, direction: Direction, said: tuple[Claim, Claim]
) -> tuple[tuple[Interval, _Change], ...]:
    """Return the services for which a change of claims is of the same effect, but for none."""
    whole = Service().intervals()[0]
    labelled = old.base.baseline or new.base.baseline
    segments = within(machine.baseline.of(direction), whole) if labelled else [(whole, None)]
    found: list[tuple[Interval, _Change]] = []
    for services, segment in segments:
        before, after = old.domains(said[0], segment), new.domains(said[1], segment)
        change = (after - before, before - after)
        if found and found[-1][1] == change and found[-1][0].last + 1 == services.first:
            found[-1] = (Interval(found[-1][0].first, services.last), change)
        elif change != _NOTHING:
            found.append((services, change))
    return tuple(found)


def _clipped(
    runs: Iterable[tuple[Interval, _Change]], services: Interval
) -> Iterator[tuple[Interval, _Change]]:
    for interval, change in runs:
        first, last = max(interval.first, services.first), min(interval.last, services.last)
        if first <= last:
            yield Interval(first, last), change


def unfenced(machine: Machine, fences: Iterable[Fence]) -> Machine:
    """Return the machine as it will be without some fences, which hide what policy lets do."""
    labels, unlabeled = dict(machine.policy.labels), machine.policy.unlabeled
    for fence in fences:
        one = frozenset({fence.domain})
        for label, rights in labels.items():
            labels[label] = rights | _kept(fence, label, one)
        unlabeled |= _kept(fence, machine.contexts.unlabeled, one)
    return replace(machine, policy=replace(machine.policy, labels=labels, unlabeled=unlabeled))


def _kept(fence: Fence, label: str, one: frozenset[str]) -> Rights:
    nobody = frozenset[str]()
    may_send, may_recv = label in fence.kept.send, label in fence.kept.recv
    return Rights(one if may_send else nobody, one if may_recv else nobody)


def _gone(before: DesiredState, after: DesiredState) -> Iterator[Fence]:
    return (fence for fence in before.fences if after.fence_of(fence.domain) is None)


class _Voices:
    """What either state says of where, as numbers: many thousands of grants say the same."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[bool, type[Member], str], int] = {}
        self._said: list[tuple[bool, Member]] = []
        self._claims = lru_cache(None)(self._claims_of)

    def both(
        self, before: DesiredState, after: DesiredState, *, alike: bool
    ) -> Iterator[tuple[Destination, int | None]]:
        """Yield what either state says of where, and nothing of everywhere.

        Where the states are ``alike`` but for guards, grants and what fences spare, and few of
        those differ, what is said near them is all that matters.
        """
        for direction in Direction:
            yield Destination(direction, None, Service()), None
        changed = before.beyond(after) | after.beyond(before)
        few = alike and len(changed) <= _FEW
        around = [place for one in changed for place in _places(one)]
        for of_after, state in ((False, before), (True, after)):
            for place, member in placed(state):
                if not few or any(_near(place, one) for one in around):
                    yield place, self._number(member, of_after=of_after)

    def claims(self, numbers: Iterable[int | None]) -> tuple[Claim, Claim]:
        """Return the claims that both states have."""
        return self._claims(tuple(numbers))

    def _number(self, member: Member, *, of_after: bool) -> int:
        domain = "" if isinstance(member, Guard) else member.domain
        number = self._numbers.setdefault((of_after, type(member), domain), len(self._said))
        if number == len(self._said):
            self._said.append((of_after, member))
        return number

    def _claims_of(self, numbers: tuple[int | None, ...]) -> tuple[Claim, Claim]:
        said = [self._said[number] for number in numbers if number is not None]
        before = claim_of(member for of_after, member in said if not of_after)
        return before, claim_of(member for of_after, member in said if of_after)


def _places(member: Member) -> tuple[Destination, ...]:
    """Return where something is said by a member; a fence may spare something else than before."""
    return member.spared() if isinstance(member, Fence) else (member.destination,)


def _near(one: Destination, other: Destination) -> bool:
    """Tell whether two may share a point."""
    return one.direction is other.direction and (
        one.peer is None or other.peer is None or one.peer.overlaps(other.peer)
    )


class _Reach:
    """Who reaches what by one desired state."""

    def __init__(self, state: DesiredState, machine: Machine) -> None:
        self._all = machine.policy.domains
        # The kernel sends by every label what no process sends: that is no one's gain or loss.
        self._told = self._all - {machine.contexts.kernel}
        self.state = present(state, self._all) if state.settings.active else DesiredState()
        self.base = Base.of(self.state, machine)
        self.domains = lru_cache(None)(self._domains)

    def _domains(self, claim: Claim, segment: Segment | None) -> frozenset[str]:
        if claim.guarded:
            return claim.granted & self._told
        label = segment if self.base.baseline else None
        rights = self.base.rights(label)
        base = self._all - self.base.fences.keys() if rights is None else _users(rights)
        kept = _users(self.base.spared(label, claim.spared))
        return (claim.granted | base | kept) & self._told


def _users(rights: Rights) -> frozenset[str]:
    return rights.send & rights.recv


def _joined(where: Iterable[Box[None]]) -> Iterator[Box[None]]:
    """Join boxes of the same addresses whose services follow each other."""
    waiting: Box[None] | None = None
    for box in where:
        if waiting is not None and _follows(waiting, box):
            services = Interval(waiting.services.first, box.services.last)
            waiting = replace(waiting, services=services)
            continue
        if waiting is not None:
            yield waiting
        waiting = box
    if waiting is not None:
        yield waiting


def _follows(one: Box[None], following: Box[None]) -> bool:
    return (one.direction, one.peer, one.services.last + 1) == (
        following.direction,
        following.peer,
        following.services.first,
    )
