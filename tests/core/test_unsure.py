"""Flows whose direction is not sure: UDP, ICMP, TCP picked up after its entry was lost.

Conntrack takes whoever it hears first for the opener. A guard must hold whichever way that went;
the price is that some flows are refused, or let pass, by the guard of their other end. Both lists
are held here: :func:`_refused_by_other_end` and :func:`_passed_by_other_end`.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from appfwd.model.destination import Destination, Direction
from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.state import Bridge, DesiredState, Guard
from tests.core import reference
from tests.core.compiled import Compiled
from tests.core.packets import ACK, OURS, SYN, SYN_ACK, Entry, Packet, packet_of
from tests.core.packets import Ends as Tuple
from tests.core.reference import BOTH, ICMP, TCP, UDP, WITH_PORTS, Ends, Point
from tests.core.samples import (
    DOMAINS,
    EPHEMERAL,
    destinations,
    make_policy,
    points_of,
    policies,
    states,
)
from tests.core.stories import state_of

RANGE = range(EPHEMERAL.first, EPHEMERAL.last + 1)
OUT, IN = Direction.OUT, Direction.IN
EITHER = st.sampled_from(Direction)


@st.composite
def flows(draw: st.DrawFn, state: DesiredState, guarded: Direction | None = None) -> Ends:
    """Draw a flow whose ends lie at the borders of the state's rectangles; one of them guarded."""
    points = points_of(state)
    ports = [p.port for p in points] + [45678]
    if guarded is not None:
        points = [p for p in points if p.direction is guarded and reference.guarded(state, p)]
    one = draw(st.sampled_from(points))
    other = replace(one, direction=OUT if one.direction is IN else IN)
    other = replace(other, port=draw(st.sampled_from(ports)))
    return Ends(one, other) if one.direction is OUT else Ends(other, one)


def entry_of(ends: Ends, believed: Direction) -> Entry:
    """Return the entry that conntrack makes when it takes ``believed`` for the direction."""
    going = Tuple(OURS, ends.ours.port, ends.theirs.address, ends.theirs.port)
    original = going if believed is OUT else going.turned()
    return Entry(ends.theirs.version, ends.theirs.protocol, original)


def label(compiled: Compiled, ends: Ends, believed: Direction, permission: str) -> str | None:
    """Return the label of a packet of the flow that we send or receive, never seen a SYN of."""
    entry = entry_of(ends, believed)
    way = "original" if (believed is OUT) is (permission == "send") else "reply"
    flags = ACK if ends.theirs.protocol == TCP else None
    packet = packet_of(entry, "original" if way == "original" else "reply", "established", flags)
    hook = compiled.evaluator.send if permission == "send" else compiled.evaluator.receive
    return hook(packet)


def may(compiled: Compiled, domain: str, ends: Ends, believed: Direction) -> frozenset[str]:
    """Return what of send and recv passes for ``domain``."""
    return frozenset(p for p in BOTH if compiled.may(domain, p, label(compiled, ends, believed, p)))


@given(states(), policies(), EITHER, st.data())
def test_the_deciding_point_has_the_one_rule(
    state: DesiredState, policy: LoadedPolicy, believed: Direction, data: st.DataObject
) -> None:
    """The exact specification, for all protocols and both beliefs."""
    compiled = Compiled(state, policy)
    for _ in range(4):
        ends = data.draw(flows(state))
        point = reference.deciding(state, ends, believed, RANGE)
        for domain in DOMAINS:
            expected = reference.allowed(state, policy, domain, point)
            assert may(compiled, domain, ends, believed) == expected, (ends, point)


def _with_guard(state: DesiredState, guard: Destination) -> DesiredState:
    return replace(state, guards=state.guards | {Guard(guard)})


@given(states(), destinations(OUT), policies(), EITHER, st.data())
def test_no_belief_of_conntrack_opens_a_guarded_peer(
    state: DesiredState,
    guard: Destination,
    policy: LoadedPolicy,
    believed: Direction,
    data: st.DataObject,
) -> None:
    """Unless the local port itself is guarded and granted to the domain."""
    state = _with_guard(state, guard)
    ends = data.draw(flows(state, guarded=OUT))
    compiled = Compiled(state, policy)
    for domain in DOMAINS:
        server = reference.guarded(state, ends.ours) and reference.granted(state, domain, ends.ours)
        if not reference.granted(state, domain, ends.theirs) and not server:
            assert not may(compiled, domain, ends, believed)


@given(states(), destinations(IN), policies(), EITHER, st.data())
def test_no_belief_of_conntrack_opens_a_guarded_local_port(
    state: DesiredState,
    guard: Destination,
    policy: LoadedPolicy,
    believed: Direction,
    data: st.DataObject,
) -> None:
    """Unless the peer itself is guarded and granted; ephemeral ports only in flows believed in."""
    state = _with_guard(state, guard)
    ends = data.draw(flows(state, guarded=IN))
    ports = ends.ours.protocol in WITH_PORTS and ends.ours.port not in RANGE
    assume(ports or believed is IN)
    compiled = Compiled(state, policy)
    for domain in DOMAINS:
        client = reference.guarded(state, ends.theirs) and reference.granted(
            state, domain, ends.theirs
        )
        if not reference.granted(state, domain, ends.ours) and not client:
            assert not may(compiled, domain, ends, believed)


def _refused_by_other_end(state: DesiredState, ends: Ends, truth: Direction, domain: str) -> bool:
    """Tell whether a flow is of those refused though the one rule allows them.

    1. A peer opened it to a local port that is not guarded, from a port that is guarded for
       flows of ours (guard 10.0.0.5: its UDP to our servers is refused too, not its TCP).
    2. We opened it to a peer that is not guarded, from a local port outside the ephemeral range
       that is guarded inbound (guard in any:123/udp: an NTP client that sends from port 123).

    In both the domain has no grant for that other end.

    3. Nothing is guarded, and by its ports the flow looks begun by an answer (it is taken for one,
       and the baseline or a grant of the other end decides).
    """
    if reference.turned(ends, truth, RANGE):
        return True
    if reference.guarded(state, ends.end(truth)):
        return False
    if truth is IN:
        other, asked = ends.theirs, True
    else:
        other = ends.ours
        asked = other.protocol in WITH_PORTS and other.port not in RANGE
    return asked and reference.guarded(state, other) and not reference.granted(state, domain, other)


def _passed_by_other_end(state: DesiredState, ends: Ends, truth: Direction, domain: str) -> bool:
    """Tell whether a flow is of those let pass though the one rule refuses them.

    Only with the bridge closed, and only by a grant of the very end at the other side, which is
    guarded: what looks like a reply to the domain's own flow is let through as one. Besides,
    what by its ports looks begun by an answer is taken for one.
    """
    if reference.turned(ends, truth, RANGE):
        return True
    other = ends.theirs if truth is IN else ends.ours
    return (
        (state.settings.bridge is Bridge.CLOSED or state.settings.baseline)
        and not reference.guarded(state, ends.end(truth))
        and reference.guarded(state, other)
        and reference.granted(state, domain, other)
    )


@given(states(), policies(), EITHER, st.data())
def test_where_conntrack_is_right_the_one_rule_holds_but_for_two_lists(
    state: DesiredState, policy: LoadedPolicy, truth: Direction, data: st.DataObject
) -> None:
    compiled = Compiled(state, policy)
    for _ in range(4):
        ends = data.draw(flows(state))
        for domain in DOMAINS:
            found = may(compiled, domain, ends, truth)
            rule = reference.allowed(state, policy, domain, ends.end(truth))
            if rule - found:
                assert _refused_by_other_end(state, ends, truth, domain)
            if found - rule:
                assert _passed_by_other_end(state, ends, truth, domain)


def _udp(peer: int, theirs: int, ours: int) -> Ends:
    return Ends(Point(OUT, 4, peer, UDP, theirs), Point(IN, 4, peer, UDP, ours))


PEER = 0x0A00_0005


def test_the_guard_of_a_udp_peer_holds_when_it_speaks_first() -> None:
    """The entry was lost, the server's next datagram makes a new one that looks inbound."""
    compiled = Compiled(
        state_of("10.0.0.5:53/udp", grants=(("a_t", "10.0.0.5:53/udp"),)), make_policy()
    )
    for believed in Direction:
        ends = _udp(PEER, 53, 45678)
        assert may(compiled, "a_t", ends, believed) == BOTH
        assert not may(compiled, "b_t", ends, believed)


def test_guarding_a_host_refuses_its_udp_to_our_servers_and_not_its_tcp() -> None:
    """The first list of over-refusals, as a person would meet it."""
    compiled = Compiled(state_of("10.0.0.5"), make_policy())
    assert not may(compiled, "a_t", _udp(PEER, 40000, 514), IN)
    tcp = Entry(4, TCP, Tuple(PEER, 40000, OURS, 22))
    got = compiled.evaluator.receive(packet_of(tcp, "original", "new", SYN))
    assert compiled.permissions("a_t", got) == BOTH


def test_guarding_ntp_inbound_refuses_a_client_that_sends_from_its_port() -> None:
    """The second list of over-refusals; from an ephemeral port the same client passes."""
    compiled = Compiled(state_of("in any:123/udp"), make_policy())
    assert not may(compiled, "a_t", _udp(PEER, 123, 123), OUT)
    assert may(compiled, "a_t", _udp(PEER, 123, 45678), OUT) == BOTH


def test_a_guard_of_every_inbound_port_leaves_udp_clients_alone() -> None:
    compiled = Compiled(state_of("in any"), make_policy())
    assert may(compiled, "a_t", _udp(PEER, 53, 45678), OUT) == BOTH
    assert not may(compiled, "a_t", _udp(PEER, 53, 45678), IN)


def test_a_tcp_flow_picked_up_in_its_middle_does_not_escape_its_guard() -> None:
    """A grant was revoked, conntrack forgot the flow, and the server sends on."""
    compiled = Compiled(state_of("10.0.0.5:443/tcp"), make_policy())
    entry = Entry(4, TCP, Tuple(PEER, 443, OURS, 45678))
    picked_up = packet_of(entry, "original", "new", ACK)
    assert not compiled.permissions("a_t", compiled.evaluator.receive(picked_up))
    answer = packet_of(entry, "reply", flags=ACK)
    assert not compiled.permissions("a_t", compiled.evaluator.send(answer))
    assert not entry.sure


def test_a_peers_syn_ack_makes_nothing_sure() -> None:
    compiled = Compiled(state_of("10.0.0.5:443/tcp"), make_policy())
    entry = Entry(4, TCP, Tuple(PEER, 443, OURS, 45678))
    got = compiled.evaluator.receive(packet_of(entry, "original", "new", SYN_ACK))
    assert not compiled.permissions("a_t", got)


def test_replies_of_a_granted_peer_pass_with_the_bridge_closed() -> None:
    """The list of what passes: b_t has no right to unlabelled packets, a grant for the peer."""
    grants = (("b_t", "10.0.0.5:53/udp"),)
    state = state_of("10.0.0.5:53/udp", grants=grants, bridge=Bridge.CLOSED)
    compiled = Compiled(state, make_policy(Rights.both(frozenset({"a_t"}))))
    for believed in Direction:
        assert may(compiled, "b_t", _udp(PEER, 53, 45678), believed) == BOTH
    assert not may(compiled, "b_t", _udp(PEER, 54, 45678), IN)


def test_the_ping_of_a_guarded_host_is_refused_both_ways() -> None:
    compiled = Compiled(state_of("10.0.0.5"), make_policy())
    for believed in Direction:
        ends = Ends(Point(OUT, 4, PEER, ICMP, 0x800), Point(IN, 4, PEER, ICMP, 0x800))
        assert not may(compiled, "a_t", ends, believed)


# Packets without a conntrack entry: invalid and untracked ones.


def _without_entry(compiled: Compiled, ends: Ends, permission: str, why: str) -> str | None:
    going = Tuple(OURS, ends.ours.port, ends.theirs.address, ends.theirs.port)
    sending = permission == "send"
    one = ends.theirs
    packet = Packet(one.version, one.protocol, going if sending else going.turned(), None)
    packet.state = "invalid" if why == "invalid" else "untracked"
    return compiled.evaluator.send(packet) if sending else compiled.evaluator.receive(packet)


@given(states(), policies(), st.sampled_from(["invalid", "untracked"]), st.data())
def test_packets_without_entry_are_decided_by_the_guards_of_their_headers(
    state: DesiredState, policy: LoadedPolicy, why: str, data: st.DataObject
) -> None:
    """The peer's guard decides, else that of a local port that is not ephemeral, else no label."""
    compiled = Compiled(state, policy)
    for _ in range(4):
        ends = data.draw(flows(state))
        point = reference.deciding_without_entry(state, ends, RANGE)
        for domain in DOMAINS:
            for permission in BOTH:
                got = _without_entry(compiled, ends, permission, why)
                if point is not None:
                    rule = reference.granted(state, domain, point)
                    assert compiled.may(domain, permission, got) is rule
                else:
                    assert got is None


def test_an_untracked_packet_to_a_guarded_peer_needs_the_grant() -> None:
    state = state_of("10.0.0.5:53/udp", "in any:80/tcp", grants=(("a_t", "10.0.0.5:53/udp"),))
    compiled = Compiled(state, make_policy())
    ends = _udp(PEER, 53, 45678)
    for permission in BOTH:
        got = _without_entry(compiled, ends, permission, "untracked")
        assert [d for d in DOMAINS if compiled.may(d, permission, got)] == ["a_t"]
