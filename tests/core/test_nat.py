"""Destination NAT: neither the address asked for nor the one reached escapes its guard.

Two guards may meet in one connection, and a packet has one label: then the guard of where it
really goes decides, which the domain could ask for without NAT as well.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from appfwd.model.destination import Direction
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import DesiredState
from tests.core import reference
from tests.core.compiled import Compiled
from tests.core.packets import ACK, OURS, SYN, opened, packet_of
from tests.core.reference import BOTH, TCP, WITH_PORTS, Point, any_covers
from tests.core.samples import DOMAINS, make_policy, points_of, policies, states
from tests.core.stories import point, state_of

OUT, IN = Direction.OUT, Direction.IN


def deciding(state: DesiredState, asked: Point, reached: Point) -> Point:
    """Return the point whose rule decides: a guarded end reached, else the one asked for."""
    return reached if reference.guarded(state, reached) else asked


def inbound_rule(
    state: DesiredState, policy: LoadedPolicy, domain: str, asked: Point, reached: Point
) -> frozenset[str]:
    """Return what ``domain`` may do with a connection to ``asked`` that arrives at ``reached``.

    Where nothing was said of what was asked for and our own port is not guarded, that port's
    packet type decides: there the service is that policy means.
    """
    said = {g.destination for g in state.guards} | {g.destination for g in state.grants}
    if reference.guarded(state, reached) or any_covers(said, asked):
        return reference.allowed(state, policy, domain, deciding(state, asked, reached))
    return reference.allowed(replace(state, grants=frozenset()), policy, domain, reached)


@st.composite
def pairs(draw: st.DrawFn, state: DesiredState, direction: Direction) -> tuple[Point, Point]:
    """Draw where a connection asks to go and where NAT leads it, of one family and protocol."""
    points = [p for p in points_of(state) if p.direction is direction]
    asked = draw(st.sampled_from(points))
    same = [p for p in points if p.version == asked.version]
    reached = replace(draw(st.sampled_from(same)), protocol=asked.protocol)
    if direction is IN:  # our own address changes then, which no destination names
        reached = replace(reached, address=asked.address)
    return asked, reached


def _outbound(compiled: Compiled, asked: Point, reached: Point) -> list[tuple[str, str | None]]:
    """Return (permission, label) of a local connection that the output hook's NAT redirects."""
    entry, to = opened(asked), (reached.address, reached.port)
    entry.make_sure()
    run = compiled.evaluator
    first = packet_of(entry, "original", "new")
    labels = [("send", run.send(first, dnat=to))]
    labels.append(("recv", run.receive(packet_of(entry, "reply"))))
    labels.append(("send", run.send(packet_of(entry, "original"))))
    return labels


@given(states(), policies(), st.data())
def test_outbound_nat(state: DesiredState, policy: LoadedPolicy, data: st.DataObject) -> None:
    compiled = Compiled(state, policy)
    for _ in range(4):
        asked, reached = data.draw(pairs(state, OUT))
        decides = deciding(state, asked, reached)
        for permission, label in _outbound(compiled, asked, reached):
            for domain in DOMAINS:
                rule = permission in reference.allowed(state, policy, domain, decides)
                assert compiled.may(domain, permission, label) is rule, (asked, reached)


@given(states(), policies(), st.data())
def test_inbound_nat(state: DesiredState, policy: LoadedPolicy, data: st.DataObject) -> None:
    """A redirect at prerouting: the entry is translated before any hook of ours sees it."""
    compiled = Compiled(state, policy)
    for _ in range(4):
        asked, reached = data.draw(pairs(state, IN))
        entry = opened(asked)
        entry.make_sure()
        entry.dnat = (OURS, reached.port)
        got = compiled.evaluator.receive(packet_of(entry, "original", "new"))
        sent = compiled.evaluator.send(packet_of(entry, "reply"))
        for domain in DOMAINS:
            rule = inbound_rule(state, policy, domain, asked, reached)
            assert compiled.may(domain, "recv", got) is ("recv" in rule)
            assert compiled.may(domain, "send", sent) is ("send" in rule)


@given(states(), policies(), st.sampled_from(Direction), st.data())
def test_no_guard_of_either_target_is_escaped_where_the_direction_is_unsure(
    state: DesiredState, policy: LoadedPolicy, believed: Direction, data: st.DataObject
) -> None:
    """A domain that no guard on the way has a grant for is refused."""
    compiled = Compiled(state, policy)
    asked, reached = data.draw(pairs(state, believed))
    entry = opened(asked)
    entry.dnat = (reached.address if believed is OUT else OURS, reached.port)
    packet = packet_of(entry, "original")
    if believed is OUT:
        permission, label = "send", compiled.evaluator.send(packet)
    else:
        permission, label = "recv", compiled.evaluator.receive(packet)
    guards = [p for p in (asked, reached) if reference.guarded(state, p)]
    ours = Point(IN, asked.version, asked.address, asked.protocol, entry.original.sport)
    theirs = replace(ours, direction=OUT)
    other = ours if believed is OUT else theirs
    for domain in DOMAINS:
        if guards and not any(reference.granted(state, domain, p) for p in (*guards, other)):
            assert not compiled.may(domain, permission, label)
    assert asked.protocol not in WITH_PORTS or not entry.sure


def _verdicts(
    *guards: str, grants: tuple[tuple[str, str], ...], asked: str, reached: str
) -> set[tuple[str, bool]]:
    compiled = Compiled(state_of(*guards, grants=grants), make_policy())
    labels = _outbound(compiled, point(asked), point(reached))
    return {(d, compiled.may(d, p, label)) for d in DOMAINS for p, label in labels}


OLD, NEW = "10.0.0.5:80/tcp", "10.0.0.6:8080/tcp"


def test_the_guard_of_the_address_reached_holds() -> None:
    found = _verdicts(NEW, grants=(("a_t", NEW),), asked=OLD, reached=NEW)
    assert found == {("a_t", True), ("b_t", False), ("c_t", False)}


def test_the_guard_of_the_address_asked_for_holds() -> None:
    found = _verdicts(OLD, grants=(("a_t", OLD),), asked=OLD, reached=NEW)
    assert found == {("a_t", True), ("b_t", False), ("c_t", False)}


def test_where_both_are_guarded_the_address_reached_decides() -> None:
    """The surprise of the order: a_t, granted the address asked for alone, is refused."""
    grants = (("a_t", OLD), ("b_t", NEW))
    found = _verdicts(OLD, NEW, grants=grants, asked=OLD, reached=NEW)
    assert found == {("a_t", False), ("b_t", True), ("c_t", False)}


def test_the_first_packet_is_relabelled_once_nat_is_set_up() -> None:
    """It passes our first chain before NAT, and our second one after it."""
    compiled = Compiled(state_of(NEW), make_policy())
    to, entry = point(NEW), opened(point(OLD))
    label = compiled.evaluator.send(packet_of(entry, "original", "new", SYN), (to.address, to.port))
    assert compiled.permissions("a_t", label) != BOTH
    back = compiled.evaluator.receive(packet_of(entry, "reply", flags=ACK))
    assert compiled.permissions("a_t", back) != BOTH
    assert entry.protocol == TCP
