"""From a record of a refused packet to the place that was refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appfwd.core.avc import parse_packet_record
from appfwd.core.denials import is_askable, refusal_of
from appfwd.model.destination import parse_destination
from appfwd.model.policy import LoadedPolicy, PortContext, Rights
from appfwd.model.services import Interval
from appfwd.model.state import Bridge, Settings
from tests.core.refusals import denial, machine, text
from tests.core.samples import baseline_policy
from tests.core.stories import place

BASELINE, CLOSED = Settings(baseline=True), Settings(bridge=Bridge.CLOSED)
TCP, UDP = "appfwd_new_tcp_t", "appfwd_new_udp_t"


def shown(record: str, settings: Settings | None = None, policy: LoadedPolicy | None = None) -> str:
    """Return what a record comes to, as one line; a question mark where it can be asked about."""
    found = denial(record, settings, policy)
    one = found.observation
    mark = " ?" if found.askable else ""
    return f"{one.domain} {one.destination.direction.value} {one.destination}{mark}"


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (text(), "a_t out 10.0.0.5:443/tcp ?"),
        (text(label="appfwd_seen_tcp_t"), "a_t out 10.0.0.5:443/tcp ?"),
        (text(label=UDP), "a_t out 10.0.0.5:443/udp ?"),
        (text("2001:db8::7"), "a_t out [2001:db8::7]:443/tcp ?"),
        (text(port=50_000), "a_t out 10.0.0.5:50000/tcp ?"),
        # A client that binds a port of its own, to a server and to another such.
        (text(local=500, port=500, label=UDP), "a_t out 10.0.0.5:500/udp ?"),
        (text(local=123, port=50_000, label=UDP), "a_t out 10.0.0.5:50000/udp ?"),
        # A server is reached for, and answers a client whose connection is from before a fence.
        (text(sent=False, local=22, port=50_000), "a_t in 10.0.0.5:22/tcp ?"),
        (text(local=22, port=50_000), "a_t in 10.0.0.5:22/tcp ?"),
        (text(sent=False, local=53, port=53, label=UDP), "a_t in 10.0.0.5:53/udp ?"),
        # What comes to a client's port may be anybody's, of any source port.
        (text(sent=False), "a_t in 10.0.0.5:40000/tcp"),
        # No ports at all: the label says which protocol, or nobody does.
        (text(port=None, local=None, label="appfwd_new_icmp_t"), "a_t out 10.0.0.5/icmp ?"),
        (
            text("fe80::1", None, local=None, label="appfwd_new_icmpv6_t"),
            "a_t out [fe80::1]/icmpv6 ?",
        ),
        (
            text(port=None, local=None, label="appfwd_new_icmp_t", sent=False),
            "a_t in 10.0.0.5/icmp",
        ),
        (text(port=None, local=None, label="appfwd_new_other_t"), "a_t out 10.0.0.5"),
        # A later packet of a flow tells neither its protocol nor who opened it.
        (text(label="unlabeled_t"), "a_t out 10.0.0.5:443"),
        # Of a type of ours: a guard's, or one of others' grants.
        (text(label="appfwd_nobody_packet_t"), "a_t out 10.0.0.5:443 ?"),
        (text(port=None, local=None, label="appfwd_nobody_packet_t"), "a_t out 10.0.0.5"),
    ],
)
def test_what_a_record_comes_to(record: str, told: str) -> None:
    assert shown(record) == told


def test_a_port_zero_is_a_port() -> None:
    """The kernel leaves a zero out, but reads both ports together."""
    assert shown(text(port=0)) == "a_t out 10.0.0.5:0/tcp ?"


def test_with_the_bridge_closed_what_has_no_label_is_asked_about_by_port() -> None:
    assert shown(text(label="unlabeled_t"), CLOSED) == "a_t out 10.0.0.5:443 ?"
    assert shown(text(port=None, local=None, label="unlabeled_t"), CLOSED) == "a_t out 10.0.0.5"
    assert denial(text(label="unlabeled_t"), CLOSED).unlabelled
    assert not denial(text(label="p_client_packet_t"), CLOSED).unlabelled


def test_a_label_of_the_baseline_tells_the_protocol_where_it_is_of_one_alone() -> None:
    policy = baseline_policy(p_client_packet_t=Rights.both(frozenset({"b_t"})))
    record = text(port=80, label="p_client_packet_t")
    assert shown(record, BASELINE, policy) == "a_t out 10.0.0.5:80/tcp ?"
    assert shown(record, None, policy) == "a_t out 10.0.0.5:80 ?", "the baseline is off"
    assert shown(text(label="p_client_packet_t"), BASELINE, policy) == "a_t out 10.0.0.5:443 ?"


def test_nothing_is_told_of_what_was_let_pass_or_has_no_remote_end() -> None:
    whole = text()
    mapped = whole.replace("daddr=10.0.0.5", "daddr=::ffff:10.0.0.5").replace("192.0.2.1", "::1")
    nowhere = whole.replace("saddr=192.0.2.1 src=40000 daddr=10.0.0.5 dest=443 ", "")
    for one in (text(verdict="granted"), mapped, nowhere):
        record = parse_packet_record(one)
        assert record is not None
        assert refusal_of(record) is None


@pytest.mark.parametrize(
    ("destination", "askable"),
    [
        ("10.0.0.5:443/tcp", True),
        ("10.0.0.5/icmp", True),
        ("10.0.0.5:443", False),
        ("10.0.0.5", False),
        ("in 10.0.0.5:22/tcp", True),
        ("in 10.0.0.5:40000/tcp", False),
        ("in 10.0.0.5/icmp", False),
    ],
)
def test_what_was_stored_and_can_be_asked_about_later(destination: str, *, askable: bool) -> None:
    assert is_askable(place(destination), machine()) is askable


def test_every_place_that_is_told_can_be_written_and_read() -> None:
    for record in (text(), text("2001:db8::7"), text(port=None, local=None)):
        one = denial(record).observation.destination
        assert parse_destination(str(one), one.direction) == one


def test_a_label_of_two_protocols_at_a_port_tells_neither() -> None:
    policy = baseline_policy(p_client_packet_t=Rights.both(frozenset({"b_t"})))
    both = tuple(PortContext(p, Interval(80, 80), "p_port_t") for p in (6, 17))
    record = text(port=80, label="p_client_packet_t")
    assert shown(record, BASELINE, replace(policy, ports=both)) == "a_t out 10.0.0.5:80 ?"
