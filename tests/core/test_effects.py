"""Who gains and who loses by a change: at every border, what the one rule says before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from appfwd.core.baseline import baseline_of
from appfwd.core.boxtext import box_texts
from appfwd.core.cells import Box
from appfwd.core.effects import Effect, effects
from appfwd.core.machine import Machine
from appfwd.model.addresses import AddressRange, Family
from appfwd.model.destination import Destination, Direction
from appfwd.model.fence import Fence, Kept
from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.services import ICMP, ICMPV6, PORT_PROTOCOLS, Service
from appfwd.model.state import Bridge, DesiredState, Grant, Guard
from tests.core import reference
from tests.core.reference import BOTH, Point
from tests.core.samples import (
    CONTEXTS,
    EPHEMERAL,
    UNLABELED,
    baseline_policy,
    destinations,
    make_policy,
    points_of,
    policies,
    states,
)
from tests.core.stories import state_of


def machine_of(policy: LoadedPolicy) -> Machine:
    return Machine(policy, CONTEXTS, EPHEMERAL, baseline_of(policy))


def hidden(policy: LoadedPolicy, state: DesiredState) -> LoadedPolicy:
    """Return the policy as it is loaded: the fences take what their domains may do out of it."""
    gone = Rights.both(frozenset(fence.domain for fence in state.fences))
    labels = {name: rights - gone for name, rights in policy.labels.items()}
    return replace(policy, labels=labels, unlabeled=policy.unlabeled - gone)


def restored(policy: LoadedPolicy, fences: Iterator[Fence]) -> LoadedPolicy:
    """Return the policy with what fenced domains could do when they were fenced."""
    labels, unlabeled = dict(policy.labels), policy.unlabeled
    for fence in fences:
        for label in fence.kept.send & labels.keys():
            labels[label] |= Rights(send=frozenset({fence.domain}))
        for label in fence.kept.recv & labels.keys():
            labels[label] |= Rights(recv=frozenset({fence.domain}))
        if UNLABELED in fence.kept.send:
            unlabeled |= Rights(send=frozenset({fence.domain}))
        if UNLABELED in fence.kept.recv:
            unlabeled |= Rights(recv=frozenset({fence.domain}))
    return replace(policy, labels=labels, unlabeled=unlabeled)


def at(found: tuple[Effect, ...], point: Point) -> list[Effect]:
    """Return the effects that a point is in."""
    line = point.protocol * 65536 + point.port
    return [
        effect
        for effect in found
        if any(
            box.direction is point.direction
            and box.peer.family == point.version
            and box.peer.first <= point.address <= box.peer.last
            and box.services.first <= line <= box.services.last
            for box in effect.where
        )
    ]


@given(states(), states(), policies())
def test_they_are_the_difference_of_the_one_rule(
    before: DesiredState, after: DesiredState, policy: LoadedPolicy
) -> None:
    hold_the_difference(before, after, policy)


@given(states(), destinations(), destinations(), policies())
def test_so_they_are_where_little_differs(
    state: DesiredState, guarded: Destination, granted: Destination, policy: LoadedPolicy
) -> None:
    more = replace(
        state,
        guards=state.guards ^ {Guard(guarded)},
        grants=state.grants ^ {Grant("a_t", granted)},
    )
    hold_the_difference(state, more, policy)


def hold_the_difference(before: DesiredState, after: DesiredState, policy: LoadedPolicy) -> None:
    """Hold effects against the one rule at every border."""
    loaded = hidden(policy, before)
    going = (f for f in before.fences if after.fence_of(f.domain) is None)
    then = restored(loaded, going)
    domains = policy.domains - {"kernel_t"}
    found = effects(before, after, machine_of(loaded))
    for point in {*points_of(before), *points_of(after)}:
        old, new = (
            {d for d in domains if reference.allowed(state, by, d, point) == BOTH}
            for state, by in ((before, loaded), (after, then))
        )
        here = at(found, point)
        assert len(here) <= 1
        gains, loses = (here[0].gains, here[0].loses) if here else (set(), set())
        assert (gains, loses) == (new - old, old - new), point


@given(states(), policies())
def test_what_does_not_change_has_no_effect(state: DesiredState, policy: LoadedPolicy) -> None:
    assert effects(state, state, machine_of(policy)) == ()


def said(before: DesiredState, after: DesiredState, policy: LoadedPolicy) -> list[object]:
    """Return effects in words."""
    return [
        (box_texts(effect.where), sorted(effect.gains), sorted(effect.loses))
        for effect in effects(before, after, machine_of(policy))
    ]


def test_a_guard_takes_its_place_from_all_but_those_granted() -> None:
    granted = (("a_t", "10.0.0.5/icmp"),)
    before, after = state_of(grants=granted), state_of("10.0.0.5", grants=granted)
    others = ["b_t", "c_t"]
    assert said(before, after, make_policy()) == [
        (("10.0.0.5 (protocol 0)", "10.0.0.5 (protocols 2-255)"), [], ["a_t", *others]),
        (("10.0.0.5/icmp",), [], others),
    ]


def test_closing_the_bridge_takes_everywhere_from_whom_policy_does_not_let() -> None:
    policy = make_policy(Rights.both(frozenset({"a_t"})))
    closed = state_of(bridge=Bridge.CLOSED)
    losers = ["b_t", "c_t"]
    assert said(state_of(), closed, policy) == [(("any", "any inbound"), [], losers)]


def test_a_fence_that_goes_gives_back_what_there_was() -> None:
    kept = Kept(frozenset({"p_client_packet_t"}), frozenset({"p_client_packet_t"}))
    fence = Fence("a_t", loopback=False, kept=kept)
    fenced = replace(state_of(baseline=True), fences=frozenset({fence}))
    assert said(fenced, state_of(baseline=True), baseline_policy()) == [
        (("any:80/tcp",), ["a_t"], [])
    ]


def test_a_fence_that_spares_something_else_takes_that_alone() -> None:
    both = frozenset({UNLABELED})
    fence = Fence("a_t", dns=False, kept=Kept(both, both))
    spares, spares_not = (
        replace(state_of(), fences=frozenset({replace(fence, loopback=loopback)}))
        for loopback in (True, False)
    )
    places = ("127.0.0.0/8", "[::1]", "127.0.0.0/8 inbound", "[::1] inbound")
    assert said(spares, spares_not, make_policy()) == [(places, [], ["a_t"])]
    assert said(spares_not, spares, make_policy()) == [(places, ["a_t"], [])]


@given(states(), st.booleans(), st.booleans(), policies())
def test_so_they_are_where_fences_spare_something_else(
    state: DesiredState,
    loopback: bool,  # noqa: FBT001
    dns: bool,  # noqa: FBT001
    policy: LoadedPolicy,
) -> None:
    fences = frozenset(replace(one, loopback=loopback, dns=dns) for one in state.fences)
    hold_the_difference(state, replace(state, fences=fences), policy)


@given(destinations())
def test_one_destination_is_written_as_itself(place: Destination) -> None:
    where = [Box(place.direction, r.peer, r.services, None) for r in place.rectangles()]
    inbound = " inbound" if place.direction is Direction.IN else ""
    family = {ICMP: Family.IPV4, ICMPV6: Family.IPV6}.get(place.service.protocol or 0)
    if family is not None and place.peer == AddressRange.whole(family):
        place = replace(place, peer=None)  # all that there is of the protocol
    if place.service.ports == (0, 65535):  # the same boxes without the ports are shorter
        protocols = [place.service.protocol] if place.service.protocol else PORT_PROTOCOLS
        texts = tuple(str(replace(place, service=Service(one))) for one in protocols)
    else:
        texts = (str(place),)
    assert box_texts(where) == tuple(text + inbound for text in texts)
