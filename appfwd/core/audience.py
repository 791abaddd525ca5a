"""From cells to packet types: which right every cell stands for, and the type that carries it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import NamedTuple, Self

from appfwd.core.baseline import Baseline
from appfwd.core.cells import Cell, Claim, Layers, Point, Where
from appfwd.core.lines import Segment, within
from appfwd.core.machine import Machine
from appfwd.model.destination import Direction
from appfwd.model.fence import Kept
from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.services import Interval
from appfwd.model.slots import group_name
from appfwd.model.state import Bridge, DesiredState

_PREFIX, _SUFFIX = "appfwd_", "_packet_t"
_NAME_MAX = 64


@dataclass(frozen=True)
class NamedByContent:
    """A type's name is a function of its users, so its audience can never change under it."""

    def type_for(self, rights: Rights) -> str:
        """Return ``appfwd_nobody``, ``appfwd_only_DOMAIN`` or a digest, with its suffix."""
        if not rights:
            return f"{_PREFIX}nobody{_SUFFIX}"
        if rights.send == rights.recv and len(rights.send) == 1:
            (domain,) = rights.send
            if len(domain) <= _NAME_MAX and "." not in domain:
                return f"{_PREFIX}only_{domain}{_SUFFIX}"
        return f"{_PREFIX}these_{_digest(rights)}{_SUFFIX}"

    def group_for(self, rights: Rights) -> str:
        """Return the group of the pool that has ``rights``; its name is a function of them too."""
        return group_name(_digest(rights))


@lru_cache(4096)
def _digest(rights: Rights) -> str:
    """Return what a name is made of; each change asks for those of all groups again."""
    text = ",".join(sorted(rights.send)) + ";" + ",".join(sorted(rights.recv))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Base:
    """Who may use what is not guarded: by the baseline's labels, and without a label.

    ``baseline`` is empty where it is off; ``unlabeled`` is the type of packets without a label.
    ``fences`` has what each fenced domain keeps where its fence does not hold.
    """

    bridge: Bridge
    policy: LoadedPolicy
    baseline: Baseline
    unlabeled: str
    fences: Mapping[str, Kept] = field(default_factory=dict)

    @classmethod
    def of(cls, state: DesiredState, machine: Machine) -> Base:
        """Return the base of a desired state."""
        baseline = machine.baseline if state.settings.baseline else Baseline()
        fences = {fence.domain: fence.kept for fence in state.fences}
        unlabeled = machine.contexts.unlabeled
        return cls(state.settings.bridge, machine.policy, baseline, unlabeled, fences)

    def rights(self, segment: Segment | None) -> Rights | None:
        """Return who may use packets of a segment (None: of none), but for the fenced.

        None stands for all others.
        """
        if segment is not None:
            return self.policy.labels[segment.label] - self._fenced
        return None if self.bridge.passes else self.policy.unlabeled - self._fenced

    def spared(self, segment: Segment | None, domains: frozenset[str]) -> Rights:
        """Return what fenced domains may do with packets of a segment where no fence holds."""
        if segment is None and self.bridge.passes:
            return Rights.both(domains)
        label = self.unlabeled if segment is None else segment.label
        return Rights(
            frozenset(d for d in domains if label in self.fences[d].send),
            frozenset(d for d in domains if label in self.fences[d].recv),
        )

    def parts(
        self, direction: Direction, services: Interval, claim: Claim
    ) -> Iterator[tuple[Interval, Segment | None]]:
        """Cut services where their packets, were the claim not there, would have another label."""
        if claim.guarded:
            yield services, None
            return
        yield from within(self.baseline.of(direction), services)

    def needed(self, claim: Claim, segment: Segment | None) -> Rights | None:
        """Return the rights that packets of a claim need a label for; None where they need none.

        Guarded: the granted domains alone. Not guarded: they, and the spared ones, besides whoever
        may use packets of the segment anyway.
        """
        granted = Rights.both(claim.granted)
        if claim.guarded:
            return granted
        more = granted | self.spared(segment, claim.spared)
        base = self.rights(segment)
        base = self._others if base is None else base
        return more | base if more - base else None

    @cached_property
    def groups(self) -> tuple[Rights, ...]:
        """Return who may use what is not guarded, by its labels; those of most domains first.

        Grants there add to them.
        """
        labels = {s.label for d in Direction for s in self.baseline.of(d)}
        found = {self.policy.labels[label] - self._fenced for label in labels}
        if self.fences or not self.bridge.passes:
            base = self.rights(None)
            found.add(self._others if base is None else base)
        return tuple(sorted(filter(None, found), key=_most_first))

    @cached_property
    def _fenced(self) -> Rights:
        return Rights.both(frozenset(self.fences))

    @cached_property
    def _others(self) -> Rights:
        return Rights.both(self.policy.domains) - self._fenced


def _most_first(rights: Rights) -> tuple[int, list[str], list[str]]:
    return -len(rights.send | rights.recv), sorted(rights.send), sorted(rights.recv)


def kept_by(domain: str, machine: Machine) -> Kept:
    """Return what policy lets a domain do that is not fenced yet."""
    policy = machine.policy
    labels = {**policy.labels, machine.contexts.unlabeled: policy.unlabeled}
    return Kept(
        frozenset(label for label, rights in labels.items() if domain in rights.send),
        frozenset(label for label, rights in labels.items() if domain in rights.recv),
    )


@dataclass(frozen=True)
class LabelledCell:
    """A cell with the packet type that its packets get."""

    cell: Cell
    packet_type: str


class LabelledPoint(NamedTuple):
    """A point with the packet type that its packets get, and whether it is guarded."""

    where: Where
    point: Point
    guarded: bool
    packet_type: str


class Labeller:
    """Gives what needs it a packet type; ``types`` are those ever given, with who may use them.

    ``own`` is what the kernel has anyway.
    """

    def __init__(self, base: Base, own: Rights) -> None:
        self._base, self._own = base, own
        self._known: dict[tuple[Claim, str | None], str | None] = {}
        self.types: dict[str, Rights] = {}

    def cells(self, cells: Iterable[Cell]) -> tuple[LabelledCell, ...]:
        """Give every cell, or part of one, that needs it a packet type."""
        result: list[LabelledCell] = []
        for cell in cells:
            parts = [
                LabelledCell(replace(cell, services=services), found)
                for services, segment in self._base.parts(cell.direction, cell.services, cell.claim)
                if (found := self._label(cell.claim, segment)) is not None
            ]
            result.extend(_joined(parts))
        return tuple(result)

    def points(self, found: Layers) -> Iterator[LabelledPoint]:
        """Give every point that needs it a packet type."""
        for where, points in found.points.items():
            for point in points:
                label = self.point(found, where, point)
                if label is not None:
                    yield label

    def point(self, found: Layers, where: Where, point: Point) -> LabelledPoint | None:
        """Give one point a packet type, where it needs one."""
        claim = found.claim(where, point)
        services = Interval(point.service, point.service)
        ((_, segment),) = self._base.parts(where.direction, services, claim)
        label = self._label(claim, segment)
        return None if label is None else LabelledPoint(where, point, claim.guarded, label)

    @cached_property
    def groups(self) -> tuple[Rights, ...]:
        """Return who may use what is not guarded, without the kernel."""
        return tuple(dict.fromkeys(filter(None, (g - self._own for g in self._base.groups))))

    def type_of(self, rights: Rights) -> tuple[str, Rights]:
        """Return the packet type of an audience, and the audience without the kernel."""
        users = rights - self._own
        return NamedByContent().type_for(users), users

    def anew(self) -> Self:
        """Return one like this that has given no type yet."""
        return type(self)(self._base, self._own)

    def _label(self, claim: Claim, segment: Segment | None) -> str | None:
        key = (claim, segment.label if segment else None)
        if key not in self._known:
            rights = self._base.needed(claim, segment)
            if rights is None:
                self._known[key] = None
            else:
                label, users = self.type_of(rights)
                self._known[key], self.types[label] = label, users
        return self._known[key]


def _joined(parts: Iterable[LabelledCell]) -> list[LabelledCell]:
    """Join parts of one cell that follow each other with one packet type."""
    result: list[LabelledCell] = []
    for part in parts:
        if result and _continues(result[-1], part):
            first = result.pop().cell.services.first
            services = Interval(first, part.cell.services.last)
            result.append(replace(part, cell=replace(part.cell, services=services)))
        else:
            result.append(part)
    return result


def _continues(one: LabelledCell, following: LabelledCell) -> bool:
    return (
        one.packet_type == following.packet_type
        and one.cell.services.last + 1 == following.cell.services.first
    )
