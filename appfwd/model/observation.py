"""What was observed: unlabelled traffic of a domain, to or from a place."""

from __future__ import annotations

from dataclasses import dataclass

from appfwd.model.destination import Destination


@dataclass(frozen=True)
class Observation:
    """A domain that used a place without a label: one host, one protocol, one port."""

    domain: str
    destination: Destination


@dataclass(frozen=True)
class Seen:
    """An observation with how often it was recorded, and when first and last (Unix time)."""

    observation: Observation
    count: int
    first: float
    last: float
