"""Expressions and statements of rules, as libnftables JSON in the very form of its listings.

Schema: libnftables-json(5). What is read back is compared as a value, so a form that listings write
otherwise would look like another's edit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from appfwd.model.addresses import AddressRange, address_text
from appfwd.model.services import Interval

Expr = Mapping[str, Any]
Rule = tuple[Expr, ...]

#: Bit of `ct secmark` that marks a sure direction; SIDs, given in order, do not come so far.
SURE = 1 << 31


def ct(key: str, direction: str | None = None) -> Expr:
    """Return a key of the conntrack entry; ``direction`` is original or reply."""
    return {"ct": {"key": key} if direction is None else {"key": key, "dir": direction}}


def meta(key: str) -> Expr:
    """Return a packet's meta information."""
    return {"meta": {"key": key}}


def payload(protocol: str, field: str) -> Expr:
    """Return a field of a packet's header."""
    return {"payload": {"protocol": protocol, "field": field}}


def match(left: Expr, right: object, operator: str = "==") -> Expr:
    """Return the statement that ends the rule unless ``left`` compares to ``right``."""
    return {"match": {"op": operator, "left": left, "right": right}}


def inside(left: Expr, interval: Interval) -> Expr:
    """Return the match of an interval."""
    return match(left, _range(interval))


def outside(left: Expr, interval: Interval) -> Expr:
    """Return the match of all but an interval."""
    return match(left, _range(interval), "!=")


def one_of(left: Expr, numbers: tuple[int, ...]) -> Expr:
    """Return the match of an anonymous set."""
    return match(left, {"set": sorted(numbers)})


def among(left: Expr, ranges: Sequence[AddressRange]) -> Expr:
    """Return the match of an address in ranges, which are in order and apart."""
    texts = [address_span(one) for one in ranges]
    return match(left, texts[0] if len(texts) == 1 else {"set": texts})


def address_span(addresses: AddressRange) -> object:
    """Return a range of addresses, or the one that it has."""
    family = addresses.family
    return span(address_text(family, addresses.first), address_text(family, addresses.last))


def span(first: object, last: object) -> object:
    """Return a range, or its one value."""
    return first if first == last else {"range": [first, last]}


def direction_is(which: str) -> Expr:
    """Return the match of a packet's direction in its conntrack entry."""
    return match(ct("direction"), which)


def protocol_is(number: int) -> Expr:
    """Return the match of the entry's protocol (of an ICMP error: its connection's)."""
    return match(ct("protocol"), number)


def label_from(name: object, *key: Expr) -> Expr:
    """Return the statement that labels by a map, or ends the rule where that has no such key."""
    whole: Expr = key[0] if len(key) == 1 else {"concat": list(key)}
    return {"secmark": {"map": {"key": whole, "data": f"@{name}"}}}


def label(packet_type: str) -> Expr:
    """Return the statement that labels with one packet type."""
    return {"secmark": packet_type}


def jump(chain: str) -> Expr:
    """Return the statement that runs a chain and comes back."""
    return {"jump": {"target": chain}}


def goto(chain: str) -> Expr:
    """Return the statement that runs a chain in place of the rest of this one."""
    return {"goto": {"target": chain}}


def masked(left: Expr, mask: int) -> Expr:
    """Return some bits of a value."""
    return {"&": [left, mask]}


def put(key: Expr, value: object) -> Expr:
    """Return the statement that sets what ``key`` reads."""
    return {"mangle": {"key": key, "value": value}}


def _range(interval: Interval) -> Expr:
    return {"range": [interval.first, interval.last]}


ACCEPT: Expr = {"accept": None}
RETURN: Expr = {"return": None}
#: No label yet. Libnftables lists it as a plain match, which it does not read (listing.py puts that
#: right), and compiles it to one.
UNLABELLED = match({"^": [meta("secmark"), 0]}, 0)
COUNTER: Expr = {"counter": {"packets": 0, "bytes": 0}}
ESTABLISHED = match(ct("state"), "established")
NEW = match(ct("state"), "new")
NO_ENTRY = match(ct("state"), ["invalid", "untracked"], "in")
DNAT = match(ct("status"), "dnat", "in")
NOT_FORESEEN = match(ct("status"), "expected", "!")
IS_SURE = match(masked(ct("secmark"), SURE), 0, "!=")
MAKE_SURE = put(ct("secmark"), {"|": [ct("secmark"), SURE]})
SYN_ALONE = match({"&": [payload("tcp", "flags"), {"|": ["fin", "syn", "rst", "ack"]}]}, "syn")
#: Sent by this machine: no packet that was forwarded has left the input interface empty.
LOCAL = match(meta("iif"), "0")
NO_IPSEC = match({"rt": {"key": "ipsec"}}, False)  # noqa: FBT003 - as listed by libnftables
