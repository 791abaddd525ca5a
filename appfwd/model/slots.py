"""Slots: packet types without users of their own, which booleans let enrolled domains use.

So a new audience costs a commit of booleans and no policy load. The names here are those in the
policy: of slots, and of the boolean that lets a domain use one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SLOT = re.compile(r"appfwd_slot_[0-9]{3}_packet_t", re.ASCII)
_SWITCH = re.compile(r"(appfwd_slot_[0-9]{3})_(.+)", re.ASCII)


@dataclass(frozen=True)
class Switches:
    """The booleans of one slot: the domains that have one, and those whose is on."""

    domains: frozenset[str] = frozenset()
    on: frozenset[str] = frozenset()


def slot_name(number: int) -> str:
    """Return the packet type that is slot ``number`` (0 to 999)."""
    return f"appfwd_slot_{number:03}_packet_t"


def is_slot(packet_type: str) -> bool:
    """Tell whether a packet type is a slot."""
    return _SLOT.fullmatch(packet_type) is not None


def can_be_enrolled(domain: str) -> bool:
    """Tell whether a boolean can have the domain's name in its own (CIL lets it have no dot)."""
    return "." not in domain


def switch_name(slot: str, domain: str) -> str:
    """Return the boolean that lets ``domain`` use ``slot``; no two are alike."""
    return f"{slot.removesuffix('_packet_t')}_{domain}"


def parse_switch(name: str) -> tuple[str, str]:
    """Return the slot and the domain that a boolean is for.

    Raises:
        ValueError: it is none of a slot.

    """
    match = _SWITCH.fullmatch(name)
    if match is None:
        raise ValueError(name)
    return f"{match[1]}_packet_t", match[2]


def switched(
    on: Mapping[str, frozenset[str]], values: Mapping[str, bool]
) -> dict[str, frozenset[str]]:
    """Return who is let use each slot once booleans have new values; slots without are left out."""
    found = {slot: set(domains) for slot, domains in on.items()}
    for name, value in values.items():
        slot, domain = parse_switch(name)
        (set.add if value else set.discard)(found.setdefault(slot, set()), domain)
    return {slot: frozenset(domains) for slot, domains in found.items() if domains}
