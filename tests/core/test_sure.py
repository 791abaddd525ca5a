"""The whole compile against the one rule, for flows whose direction is sure.

A packet's label by our rules and the policy that our module makes together say what a domain may
do; that must be what brute force says. TCP begun by SYN, both ways, at both hooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.model.destination import Direction
from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.state import Bridge, DesiredState
from tests.core import reference
from tests.core.compiled import Compiled
from tests.core.packets import (
    ACK,
    EPHEMERAL_PORT,
    OURS,
    SYN,
    SYN_ACK,
    Ends,
    Entry,
    Packet,
    opened,
    packet_of,
)
from tests.core.reference import BOTH, TCP, Point
from tests.core.samples import DOMAINS, UNLABELED, make_policy, points_of, policies, states
from tests.core.samples import with_protocol as as_protocol
from tests.core.stories import point, state_of

CLIENT_PORTS = (EPHEMERAL_PORT, 53, 80, 443, 65535)


def labels_of(compiled: Compiled, to: Point, client: int) -> Iterator[tuple[str, str | None]]:
    """Open a TCP connection to ``to``; yield (permission checked, label) of each packet."""
    entry = opened(to, near=client, far=client)
    packets = [
        packet_of(entry, "original", "new", SYN),
        packet_of(entry, "reply", flags=SYN_ACK),
        packet_of(entry, "original", flags=ACK),
        packet_of(entry, "reply", flags=ACK),
        packet_of(entry, "reply", "related"),
    ]
    for packet in packets:
        if (packet.way == "original") is (to.direction is Direction.OUT):
            yield "send", compiled.evaluator.send(packet)
        else:
            yield "recv", compiled.evaluator.receive(packet)


@given(states(), policies(), st.data())
def test_label_and_policy_together_are_the_one_rule(
    state: DesiredState, policy: LoadedPolicy, data: st.DataObject
) -> None:
    compiled = Compiled(state, policy)
    where = [as_protocol(p, TCP) for p in points_of(state)]
    for to in data.draw(st.lists(st.sampled_from(where), min_size=1, max_size=8)):
        client = data.draw(st.sampled_from(CLIENT_PORTS))
        for permission, label in labels_of(compiled, to, client):
            for domain in DOMAINS:
                expected = permission in reference.allowed(state, policy, domain, to)
                assert compiled.may(domain, permission, label) is expected, (domain, to, label)


@given(states(), policies(), st.data())
def test_the_one_rule_holds_for_every_protocol_where_the_direction_is_sure(
    state: DesiredState, policy: LoadedPolicy, data: st.DataObject
) -> None:
    """The mark is set by hand here, so that all protocols go through the same lookups."""
    compiled = Compiled(state, policy)
    for to in data.draw(st.lists(st.sampled_from(points_of(state)), min_size=1, max_size=8)):
        entry = opened(to)
        entry.make_sure()
        there = packet_of(entry, "original", "new")
        if to.direction is Direction.OUT:
            permission, label = "send", compiled.evaluator.send(there)
        else:
            permission, label = "recv", compiled.evaluator.receive(there)
        for domain in DOMAINS:
            expected = permission in reference.allowed(state, policy, domain, to)
            assert compiled.may(domain, permission, label) is expected, (domain, to, label)


@given(states(), policies())
def test_labels_are_there_exactly_when_the_rule_needs_them(
    state: DesiredState, policy: LoadedPolicy
) -> None:
    """The first label anywhere turns on packet checks for the whole machine."""
    assert bool(Compiled(state, policy).table.contexts) is reference.labelling(state, policy)


def test_the_recipes_example() -> None:
    """Only mozilla_t gets to the guarded proxy; after the revoke nobody does."""
    proxy = "10.0.0.5:3128/tcp"
    policy = make_policy(domains=frozenset({"mozilla_t", "user_t"}))
    for grants, who in (((("mozilla_t", proxy),), {"mozilla_t"}), ((), set())):
        compiled = Compiled(state_of(proxy, grants=grants), policy)
        for permission, label in labels_of(compiled, point(proxy), EPHEMERAL_PORT):
            allowed = {d for d in policy.domains if compiled.may(d, permission, label)}
            assert allowed - {"kernel_t"} == who
    beside = point("10.0.0.6:3128/tcp")
    labels = list(labels_of(compiled, beside, EPHEMERAL_PORT))
    assert [label for _, label in labels] == [None] * 5
    assert compiled.permissions("user_t", None) == BOTH


def test_with_the_bridge_closed_a_grant_alone_opens_and_everything_else_stays_shut() -> None:
    state = state_of(grants=(("a_t", "10.0.0.5:80/tcp"),), bridge=Bridge.CLOSED)
    compiled = Compiled(state, make_policy(Rights.both(frozenset({"c_t"}))))
    for permission, label in labels_of(compiled, point("10.0.0.5:80/tcp"), EPHEMERAL_PORT):
        assert [d for d in DOMAINS if compiled.may(d, permission, label)] == ["a_t", "c_t"]
    for permission, label in labels_of(compiled, point("10.0.0.5:81/tcp"), EPHEMERAL_PORT):
        assert [d for d in DOMAINS if compiled.may(d, permission, label)] == ["c_t"]


def test_a_domain_that_policy_lost_takes_nobody_with_it() -> None:
    state = state_of("10.0.0.5", grants=(("a_t", "10.0.0.5"), ("gone_t", "10.0.0.5")))
    compiled = Compiled(state, make_policy())
    (_, label) = next(labels_of(compiled, point("10.0.0.5:80/tcp"), EPHEMERAL_PORT))
    assert compiled.permissions("a_t", label) == BOTH
    assert not compiled.permissions("gone_t", label)


def test_the_kernel_may_send_what_no_process_sends() -> None:
    """A reset or an ICMP error is checked as the kernel's own domain, or refusals time out."""
    for grants in ((), (("a_t", "10.0.0.5"),)):
        compiled = Compiled(state_of("10.0.0.5", grants=grants), make_policy())
        (_, label) = next(labels_of(compiled, point("10.0.0.5:80/tcp"), EPHEMERAL_PORT))
        assert compiled.permissions("kernel_t", label) == {"send"}


@pytest.mark.parametrize(
    ("state", "flags", "sure"),
    [
        ("new", SYN, True),
        ("new", SYN | {"ece", "cwr"}, True),
        ("established", SYN, False),
        ("new", ACK, False),
        ("new", SYN_ACK, False),
        ("new", SYN | {"rst"}, False),
        ("new", SYN | {"fin"}, False),
        ("new", frozenset(), False),
    ],
)
def test_only_a_syn_that_opens_an_entry_makes_its_direction_sure(
    state: str, flags: frozenset[str], *, sure: bool
) -> None:
    compiled = Compiled(state_of("10.0.0.5"), make_policy())
    for hook in (compiled.evaluator.send, compiled.evaluator.receive):
        entry = opened(point("10.0.0.9:80/tcp"))
        hook(packet_of(entry, "original", state, flags))  # type: ignore[arg-type]
        assert entry.sure is sure


def test_a_loopback_packet_is_a_clients_going_out_and_a_servers_coming_in() -> None:
    """What the output hook gave it is cleared in between, or the server's side would keep it."""
    grants = (("a_t", "10.0.0.99:80/tcp"), ("b_t", "in 10.0.0.99:80/tcp"))
    entry = Entry(4, TCP, Ends(OURS, EPHEMERAL_PORT, OURS, 80))
    both = Compiled(state_of("10.0.0.99", "in any:80/tcp", grants=grants), make_policy())
    sent, got = both.evaluator.loop(packet_of(entry, "original", "new", SYN))
    assert [d for d in DOMAINS if both.may(d, "send", sent)] == ["a_t"]
    assert [d for d in DOMAINS if both.may(d, "recv", got)] == ["b_t"]
    outward = Compiled(state_of("10.0.0.99"), make_policy())
    assert outward.evaluator.loop(packet_of(entry, "original", "new", SYN))[1] == UNLABELED


def test_an_icmp_error_takes_the_label_of_its_connection() -> None:
    compiled = Compiled(state_of("10.0.0.5:80/tcp"), make_policy())
    entry = opened(point("10.0.0.5:80/tcp"))
    label = compiled.evaluator.send(packet_of(entry, "original", "new", SYN))
    error = replace(packet_of(entry, "reply", "related"), protocol=1)
    assert label is not None
    assert compiled.evaluator.receive(error) == label


def test_only_what_this_machine_sent_is_cleared() -> None:
    """A forwarded packet, or one on its way into IPsec, keeps the label that others gave it."""
    compiled = Compiled(state_of("10.0.0.5"), make_policy())
    for local, ipsec, after in ((True, False, UNLABELED), (False, False, "x"), (True, True, "x")):
        packet = Packet(4, TCP, Ends(1, 2, 3, 4), None, local=local, ipsec=ipsec, label="x")
        compiled.evaluator.run("postrouting", packet)
        assert packet.label == after
