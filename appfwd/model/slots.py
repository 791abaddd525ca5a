"""Slots: packet types without users of their own, which booleans let enrolled members use.

So a new audience costs a commit of booleans and no policy load. A member is a domain, or a group of
domains: those who may use what is not guarded anyway, whom a grant adds to. The names here are
those in the policy: of slots, groups, and the boolean that lets a member use a slot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SLOT = re.compile(r"appfwd_slot_[0-9]{3}_packet_t", re.ASCII)
_GROUP = re.compile(r"appfwd_group_[0-9a-f]{20}", re.ASCII)
_SWITCH = re.compile(r"(appfwd_slot_[0-9]{3})_(.+)", re.ASCII)


@dataclass(frozen=True)
class Switches:
    """The booleans of one slot: the members that one lets use it, and those whose is on.

    Members that policy has lost may be among the latter alone.
    """

    members: frozenset[str] = frozenset()
    on: frozenset[str] = frozenset()


def slot_name(number: int) -> str:
    """Return the packet type that is slot ``number`` (0 to 999)."""
    return f"appfwd_slot_{number:03}_packet_t"


def is_slot(packet_type: str) -> bool:
    """Tell whether a packet type is a slot."""
    return _SLOT.fullmatch(packet_type) is not None


def can_be_enrolled(domain: str) -> bool:
    """Tell whether a boolean can have the domain's name in its own (CIL lets it have no dot)."""
    return "." not in domain and not is_group(domain)


def group_name(digest: str) -> str:
    """Return the group of domains that a digest (20 hexadecimal digits) stands for."""
    return f"appfwd_group_{digest}"


def is_group(name: str) -> bool:
    """Tell whether a member of the pool is a group."""
    return _GROUP.fullmatch(name) is not None


def group_attribute(group: str, permission: str) -> str:
    """Return the attribute of those of a group who have a permission, ``send`` or ``recv``."""
    return f"{group}_{permission}"


def switch_name(slot: str, member: str) -> str:
    """Return the boolean that lets ``member`` use ``slot``; no two are alike."""
    return f"{slot.removesuffix('_packet_t')}_{member}"


def parse_switch(name: str) -> tuple[str, str]:
    """Return the slot and the member that a boolean is for.

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
    found = {slot: set(members) for slot, members in on.items()}
    for name, value in values.items():
        slot, member = parse_switch(name)
        (set.add if value else set.discard)(found.setdefault(slot, set()), member)
    return {slot: frozenset(members) for slot, members in found.items() if members}
