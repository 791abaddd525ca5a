"""From cells to packet types: which right every cell stands for, and the type that carries it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from appfwd.core.baseline import Baseline
from appfwd.core.cells import Cell, Claim
from appfwd.core.lines import Segment, within
from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.services import Interval
from appfwd.model.state import Bridge

_PREFIX, _SUFFIX = "appfwd_", "_packet_t"
_NAME_MAX = 64


class PacketTypes(Protocol):
    """The choice of packet types: gives the type that stands for some rights.

    The one place that knows how types are had; a pool of types assigned by booleans can take the
    place of :class:`NamedByContent`.
    """

    def type_for(self, rights: Rights) -> str:
        """Return the packet type whose users are exactly ``rights``."""
        ...


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
        text = ",".join(sorted(rights.send)) + ";" + ",".join(sorted(rights.recv))
        return f"{_PREFIX}these_{hashlib.sha256(text.encode()).hexdigest()[:20]}{_SUFFIX}"


@dataclass(frozen=True)
class Base:
    """Who may use what is not guarded: by the baseline's labels, and without a label.

    ``baseline`` is empty where it is off.
    """

    bridge: Bridge
    policy: LoadedPolicy
    baseline: Baseline

    def rights(self, segment: Segment | None) -> Rights | None:
        """Return who may use packets of a segment (None: of none); None for everybody."""
        if segment is not None:
            return self.policy.labels[segment.label]
        return None if self.bridge.passes else self.policy.unlabeled

    def parts(self, cell: Cell) -> Iterator[tuple[Interval, Rights | None]]:
        """Cut a cell where the rights of its packets, were it not there, differ."""
        if cell.claim.guarded:
            yield cell.services, None
            return
        for services, segment in within(self.baseline.of(cell.direction), cell.services):
            yield services, self.rights(segment)


def rights_of(claim: Claim, base: Rights | None) -> Rights | None:
    """Return who may use a cell of ``claim``; None where it needs no label of its own.

    ``base`` is who may use its packets without it (None: everybody). Guarded: the granted domains
    alone. Not guarded: they besides those of ``base``.
    """
    granted = Rights.both(claim.granted)
    if claim.guarded:
        return granted
    if base is None or not granted - base:
        return None
    return granted | base


@dataclass(frozen=True)
class LabelledCell:
    """A cell with the packet type that its packets get, and who may use that."""

    cell: Cell
    packet_type: str
    rights: Rights


def label_cells(
    cells: Iterable[Cell], base: Base, types: PacketTypes, own: Rights
) -> tuple[LabelledCell, ...]:
    """Give every cell, or part of one, that needs it a packet type.

    ``own`` is what the kernel has anyway.
    """
    return tuple(part for cell in cells for part in _label_parts(cell, base, types, own))


def _label_parts(cell: Cell, base: Base, types: PacketTypes, own: Rights) -> list[LabelledCell]:
    result: list[LabelledCell] = []
    for services, without in base.parts(cell):
        rights = rights_of(cell.claim, without)
        if rights is None:
            continue
        users = rights - own
        part = LabelledCell(replace(cell, services=services), types.type_for(users), users)
        if result and _continues(result[-1], part):
            first = result.pop().cell.services.first
            part = replace(part, cell=replace(cell, services=Interval(first, services.last)))
        result.append(part)
    return result


def _continues(one: LabelledCell, following: LabelledCell) -> bool:
    return (
        one.packet_type == following.packet_type
        and one.cell.services.last + 1 == following.cell.services.first
    )
