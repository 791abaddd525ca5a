"""Explain: the labels of a destination and the verdict are those of brute force."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.core.explain import difference, explain, labels_of
from appfwd.model.destination import Destination
from appfwd.model.fence import Fence
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import DesiredState, Guard
from tests.core import reference
from tests.core.compiled import Compiled
from tests.core.reference import BOTH
from tests.core.samples import DOMAINS, UNLABELED, destinations, make_policy, points_of, policies
from tests.core.samples import states as random_states
from tests.core.stories import place, state_of


def _verdict(
    state: DesiredState, policy: LoadedPolicy, domain: str, destination: Destination
) -> str:
    compiled = Compiled(state, policy)
    labels = labels_of(compiled.table, destination, UNLABELED)
    permissions = {label: compiled.permissions(domain, label) for label in labels}
    labelling = bool(compiled.table.contexts) or state.settings.strict
    return explain(
        domain, destination, state, permissions, unlabeled=UNLABELED, labelling=labelling
    ).verdict


@given(random_states(), policies(), destinations(), st.sampled_from(DOMAINS))
def test_the_verdict_is_what_the_points_say(
    state: DesiredState, policy: LoadedPolicy, asked: Destination, domain: str
) -> None:
    """``allowed`` where all points pass both ways, ``denied`` where none does."""
    borders = points_of(replace(state, guards=state.guards | {Guard(asked)}))
    borders += [
        replace(point, protocol=other.protocol, port=other.port)
        for point in borders
        for other in reference.borders(policy)
        if point.direction is other.direction and state.settings.baseline
    ]
    verdicts = {
        reference.allowed(state, policy, domain, point) == BOTH
        for point in borders
        if reference.covers(asked, point)
    }
    expected = "partly" if len(verdicts) > 1 else "allowed" if True in verdicts else "denied"
    assert _verdict(state, policy, domain, asked) == expected


def test_a_whole_network_with_one_granted_host_is_partly_allowed() -> None:
    state = state_of("10.0.0.0/24", grants=(("a_t", "10.0.0.5:80"),))
    asked = {"10.0.0.5:80": "allowed", "10.0.0.6": "denied", "10.0.0.0/24": "partly"}
    found = {text: _verdict(state, make_policy(), "a_t", place(text)) for text in asked}
    assert found == asked


def test_the_reasons_are_named() -> None:
    state = state_of("10.0.0.0/24", "in any:22", grants=(("a_t", "10.0.0.5"), ("b_t", "10.0.0.5")))
    found = explain(
        "a_t", place("10.0.0.5:80"), state, {"x_t": BOTH}, unlabeled=UNLABELED, labelling=True
    )
    assert found.guards == (place("10.0.0.0/24"),)
    assert [grant.domain for grant in found.grants] == ["a_t"]
    assert found.why == "a_t may send and recv packets of x_t."
    assert "appfwctl guard 10.0.0.5:80" in found.remedy


def test_a_fence_is_named_with_what_it_spares() -> None:
    state = replace(state_of(), fences=frozenset({Fence("a_t", loopback=False)}))
    asked = partial(explain, unlabeled=UNLABELED, labelling=True)
    found = asked("a_t", place("10.0.0.5:80"), state, {UNLABELED: frozenset()})
    assert found.verdict == "denied"
    assert found.spared == (place("any:53/udp"), place("any:53/tcp"))
    other = asked("b_t", place("10.0.0.5:80"), state, {UNLABELED: BOTH})
    assert (other.verdict, other.spared) == ("allowed", None)


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("verdict", ["allowed", "denied", "partly"])
def test_a_kernel_that_differs_from_what_is_stored_is_told(verdict: str, *, wanted: bool) -> None:
    said = difference(verdict, wanted=wanted, destination=place("10.0.0.5:80/tcp"))
    assert bool(said) is (verdict != ("allowed" if wanted else "denied"))
    assert bool(difference("denied", wanted=True, destination=place("[::1]/gre")))
    for wide in (
        "10.0.0.5",
        "10.0.0.5:80",
        "10.0.0.0/31:80/tcp",
        "10.0.0.5:80-81/tcp",
        "any:80/tcp",
    ):
        assert not difference(verdict, wanted=wanted, destination=place(wide))


def test_without_labels_nothing_is_checked() -> None:
    found = explain(
        "a_t",
        place("any"),
        state_of(),
        {UNLABELED: frozenset()},
        unlabeled=UNLABELED,
        labelling=False,
    )
    assert found.verdict == "allowed"
    assert "labels no packet" in found.why
