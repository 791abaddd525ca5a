"""Blocks: places that nobody is asked about again. They take nothing away and give nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from appfwd.model.destination import Destination


@dataclass(frozen=True)
class Block:
    """A domain and the destination that nobody is to be asked about."""

    domain: str
    destination: Destination

    def sort_key(self) -> tuple[Any, ...]:
        """Return what blocks are ordered by: domain, then destination."""
        return (self.domain, self.destination.sort_key())


@dataclass(frozen=True)
class Blocked:
    """A block, when it was made (Unix time) and by whom."""

    block: Block
    at: float
    uid: int
