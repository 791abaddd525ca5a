"""The chains: how a packet finds its label, as libnftables JSON in the form of its listings.

The label is a function of the packet, its conntrack entry's tuples and the present maps, so a
change holds from the next packet on. Established flows keep it while the maps stay as they are
(appfwd.core.keeping).

Who opened a connection is what conntrack saw first, and conntrack forgets. An entry that began
with a TCP SYN is sure of its direction: its `ct secmark` has the bit :data:`SURE`. Every other
(UDP, a TCP flow picked up in its middle, what a helper foresaw) may have been opened by the other
side before the entry was lost, so it is looked up by both ends: as a reply to us it must not escape
the guard of its remote end, as ours it must not escape the guard of its local port. Local ports of
the ephemeral range are left out of the latter, or a guard of every inbound port would cut off every
UDP client.

Where nothing is guarded, a flow that is not sure is taken for what its ports make likely: a peer's
first packet, from a port that is not ephemeral to one of ours that is, for an answer to us; and TCP
that we send the other way about, for our answer. (Not UDP: whoever may bind such a port could then
reach any peer as if it answered.)

Order is from general to particular, and a lookup that finds nothing leaves the label as it is:
first the protocol, then what is observed, then the baseline by protocol and by port (of our SYN by
port, or else what TCP has by itself), then cells that are not guarded, then guards of the end that
was not asked for, then guards of the destination itself; of each the points, in maps without
intervals, after the cells below them (of the last before them: those are then not looked up). A map
of cells that lie in a few ranges is looked up for addresses in those alone (appfwd.core.spans).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from appfwd.core.expressions import (
    DNAT,
    ESTABLISHED,
    IS_SURE,
    LOCAL,
    MAKE_SURE,
    NEW,
    NO_ENTRY,
    NO_IPSEC,
    NOT_FORESEEN,
    RETURN,
    SYN_ALONE,
    UNLABELLED,
    Expr,
    Rule,
    ct,
    direction_is,
    goto,
    inside,
    jump,
    label,
    meta,
    one_of,
    outside,
    protocol_is,
)
from appfwd.core.keeping import (
    INPUT,
    INPUT_KEPT,
    INPUT_LOOKUP,
    OUTPUT,
    OUTPUT_KEPT,
    OUTPUT_LOOKUP,
    OUTPUT_NEW,
    kept_rules,
)
from appfwd.core.lookups import (
    OUR_PORT_OUT,
    PEER_PORT_IN,
    TARGET_IN,
    TARGET_IN_NAT,
    TARGET_OUT,
    TARGET_OUT_NAT,
    TCP,
    Header,
    Layout,
)
from appfwd.core.seen import MARK, MARK_NEW, chain_of, mark_rules, seen_rules
from appfwd.model.destination import Direction
from appfwd.model.services import PORT_PROTOCOLS

#: netfilter priorities (include/uapi/linux/netfilter_ipv4.h): mangle; just past destination NAT,
#: so that a local packet's first lookup knows where it really goes; past NF_IP_PRI_SELINUX_LAST
#: (225), where the send check is made.
MANGLE, PAST_DNAT, PAST_SELINUX = -150, -99, 300

_OUT, _IN = Direction.OUT, Direction.IN


@dataclass(frozen=True)
class Base:
    """Where a base chain hangs: hook and priority, type filter, policy accept."""

    hook: str
    priority: int


@dataclass(frozen=True)
class Chain:
    """A chain's rules; ``base`` is None for one that is jumped to."""

    rules: tuple[Rule, ...]
    base: Base | None = None


def build(layout: Layout) -> dict[str, Chain]:
    """Return every chain of the table; jumped-to chains first."""
    chains = {name: Chain(tuple(rules)) for name, rules in _looking_up(layout).items()}
    for name, directions in ((MARK_NEW, layout.told), (MARK, layout.seen)):
        if directions:
            chains[name] = Chain(mark_rules(name))
    for direction in sorted(layout.seen, key=lambda d: d.value):
        chains[chain_of(direction)] = Chain(seen_rules(direction))
    chains[OUTPUT_LOOKUP] = Chain(tuple(_of_hook(layout, _OUT, _IN)))
    chains[INPUT_LOOKUP] = Chain(tuple(_of_hook(layout, _IN, _OUT)))
    kept = kept_rules(0, complete=layout.complete)
    if layout.looks_up():
        chains |= {name: Chain(rules) for name, rules in kept.items()}
    return chains | {
        OUTPUT: Chain(kept[OUTPUT], Base("output", PAST_DNAT)),
        INPUT: Chain(kept[INPUT], Base("input", MANGLE)),
        "clear": Chain(
            ((LOCAL, NO_IPSEC, label(layout.unlabeled)),), Base("postrouting", PAST_SELINUX)
        ),
    }


def is_complete(chains: Mapping[str, Chain]) -> bool:
    """Tell whether chains of flows that keep their label were built of a complete layout."""
    return UNLABELLED not in chains[OUTPUT_LOOKUP].rules[0]


def _looking_up(layout: Layout) -> dict[str, list[Rule]]:
    """Return the chains that find a label: by flow, sure or not, and by header."""
    our_port = (_HAS_PORTS, outside(ct("proto-src", "original"), layout.ephemeral))
    in_guards = list(layout.by_end(_IN, OUR_PORT_OUT, *our_port))
    out_guards = list(layout.by_end(_OUT, PEER_PORT_IN))
    out_found = [
        *layout.by_line(_OUT, TARGET_OUT),
        *layout.by_end(_OUT, TARGET_OUT, guard=False),
    ]
    in_found = [
        *layout.by_line(_IN, TARGET_IN_NAT),
        *layout.by_end(_IN, TARGET_IN, guard=False),
    ]
    chains: dict[str, list[Rule]] = {
        "out_nat": list(layout.by_end(_OUT, TARGET_OUT_NAT, DNAT)),
        "in_nat": list(layout.by_end(_IN, TARGET_IN_NAT, DNAT)),
        "out_guards": list(layout.by_target(_OUT, TARGET_OUT, goto("out_nat"))),
        "in_guards": list(layout.by_target(_IN, TARGET_IN, goto("in_nat"))),
        "out_syn_cells": [
            *layout.by_end(_OUT, _ASKED, guard=False),
            *layout.by_target(_OUT, _ASKED, RETURN),
        ],
        "out_syn": list(layout.by_line_of_tcp(_OUT, _ASKED, "out_syn_cells")),
        "out_sure": [*out_found, (goto("out_guards"),)],
        "in_sure": [*in_found, (goto("in_guards"),)],
    }
    # A helper's child begins with its parent's `ct secmark`.
    out_flow: list[Rule] = [(NOT_FORESEEN, IS_SURE, goto("out_sure"))]
    in_flow: list[Rule] = [(NOT_FORESEEN, IS_SURE, goto("in_sure"))]
    if layout.turns():
        chains["out_turned"] = [
            *layout.by_line(_IN, OUR_PORT_OUT),
            *layout.by_end(_IN, OUR_PORT_OUT, guard=False),
            *in_guards,
            (goto("out_guards"),),
        ]
        chains["in_turned"] = [
            *layout.by_line(_OUT, PEER_PORT_IN),
            *layout.by_end(_OUT, PEER_PORT_IN, guard=False),
            *out_guards,
            (goto("in_guards"),),
        ]
        out_flow.append((protocol_is(TCP), *_from_server(layout), goto("out_turned")))
        in_flow.append((_CT_HAS_PORTS, *_from_server(layout), goto("in_turned")))
    chains["out_flow"] = [*out_flow, *out_found, *in_guards, (goto("out_guards"),)]
    chains["in_flow"] = [*in_flow, *in_found, *out_guards, (goto("in_guards"),)]
    return chains | {
        "out_stray": list(_stray(layout, _OUT, _ASKED, Header("daddr", "sport"))),
        "in_stray": list(_stray(layout, _IN, Header("saddr", "sport"), Header("saddr", "dport"))),
    }


def _from_server(layout: Layout) -> tuple[Expr, Expr]:
    """Match a flow that looks as if it were opened by the answer of a server to a client."""
    return (
        outside(ct("proto-src", "original"), layout.ephemeral),
        inside(ct("proto-src", "reply"), layout.ephemeral),
    )


def _stray(layout: Layout, direction: Direction, far: Header, near: Header) -> Iterator[Rule]:
    """Look up by header; both have the peer's address, and one of them its port, one ours."""
    ours = (_HAS_PORTS, outside(near.number(), layout.ephemeral))
    yield from layout.icmp_by_header(direction)
    yield from layout.by_end(_IN, near, *ours)
    yield from layout.by_end(_OUT, far)


def _of_hook(layout: Layout, original: Direction, reply: Direction) -> Iterator[Rule]:
    """Yield what a base chain goes on to; ``original``: who opened what it opens."""
    came = () if layout.complete else (UNLABELLED,)
    if layout.looks_up():
        yield (ESTABLISHED, *came, jump(OUTPUT_KEPT if original is _OUT else INPUT_KEPT))
    if original is _OUT and layout.looks_up() and _OUT not in layout.told | layout.seen:
        yield (NEW, SYN_ALONE, UNLABELLED, jump(OUTPUT_NEW))
    yield (NEW, SYN_ALONE, MAKE_SURE)
    if original in layout.told:
        yield (NEW, direction_is("original"), jump(MARK_NEW))
    if original in layout.seen:
        yield (NEW, direction_is("original"), jump(chain_of(original)))
    yield (direction_is("original"), jump(f"{original.value}_flow"))
    yield (direction_is("reply"), jump(f"{reply.value}_flow"))
    yield (NO_ENTRY, jump(f"{original.value}_stray"))


#: The end that a packet of ours asks for.
_ASKED = Header("daddr", "dport")
_HAS_PORTS = one_of(meta("l4proto"), PORT_PROTOCOLS)
_CT_HAS_PORTS = one_of(ct("protocol"), PORT_PROTOCOLS)
