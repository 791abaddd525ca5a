"""From cells to packet types: which right every cell stands for, and the type that carries it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from appfwd.core.cells import Cell, Claim
from appfwd.model.policy import Rights
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


def rights_of(claim: Claim, bridge: Bridge, unlabeled: Rights) -> Rights | None:
    """Return who may use a cell of ``claim``; None where it needs no label of its own.

    Guarded: the granted domains alone. Not guarded: besides them, whoever may use an unlabelled
    packet; with the bridge open that is everybody, so the packet may stay unlabelled.
    """
    granted = Rights.both(claim.granted)
    if claim.guarded:
        return granted
    if bridge is Bridge.OPEN or not granted - unlabeled:
        return None
    return granted | unlabeled


@dataclass(frozen=True)
class LabelledCell:
    """A cell with the packet type that its packets get, and who may use that."""

    cell: Cell
    packet_type: str
    rights: Rights


def label_cells(
    cells: Iterable[Cell], bridge: Bridge, unlabeled: Rights, types: PacketTypes, own: Rights
) -> tuple[LabelledCell, ...]:
    """Give every cell that needs one its packet type; ``own`` is what the kernel has anyway."""
    result: list[LabelledCell] = []
    for cell in cells:
        rights = rights_of(cell.claim, bridge, unlabeled)
        if rights is not None:
            users = rights - own
            result.append(LabelledCell(cell, types.type_for(users), users))
    return tuple(result)
