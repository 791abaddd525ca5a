"""Fences: who is shut in, what is spared, and that no step of a change lets anybody out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appfwd.core.compiler import compile_state
from appfwd.core.plan import ApplyTable, LoadModule, Step, plan
from appfwd.core.pool import assigned
from appfwd.core.stages import stages
from appfwd.core.verify import verify
from appfwd.model.changes import add_fence, remove_fence
from appfwd.model.fence import Fence, Kept
from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.state import Bridge, DesiredState
from tests.core import reference
from tests.core.kernelmodel import KernelModel
from tests.core.reference import BOTH, NEITHER, Point
from tests.core.samples import (
    CONTEXTS,
    DOMAINS,
    UNLABELED,
    baseline_policy,
    make_policy,
    points_of,
    policies,
    some_fences,
    states,
)
from tests.core.stories import point, state_of

PLACES = [
    point(text)
    for text in (
        "10.0.0.5:80/tcp",
        "10.0.0.9:443/udp",
        "127.0.0.1:80/tcp",
        "[::1]:3128/tcp",
        "10.0.0.5:53/udp",
        "[2001:db8::5]:53/tcp",
    )
]


def stepwise(
    kernel: KernelModel, before: DesiredState | None, state: DesiredState
) -> Iterator[Step]:
    """Bring a kernel to a state as the daemon does; yield each step after it is done."""
    for stage, change in stages(before, state):
        for _ in range(4):
            wanted = assigned(compile_state(stage, kernel.machine()), kernel.snapshot(), CONTEXTS)
            steps = plan(kernel.snapshot(), wanted, UNLABELED, change)
            for step in steps:
                kernel.apply(step)
                yield step
            if not steps:
                break
        verify(kernel.snapshot(), wanted)


def bring(
    kernel: KernelModel, state: DesiredState, before: DesiredState | None = None
) -> list[type]:
    """Bring a kernel to a state; return the kinds of its steps."""
    return [type(step) for step in stepwise(kernel, before, state)]


def reached(kernel: KernelModel, domain: str) -> list[bool]:
    view = kernel.view()
    return [view.allowed(domain, to) == BOTH for to in PLACES]


def fenced(state: DesiredState, *fences: Fence) -> DesiredState:
    return replace(state, fences=frozenset(fences))


def test_a_fenced_domain_reaches_its_grants_and_others_what_they_did() -> None:
    kernel = KernelModel(make_policy())
    granted = state_of(grants=(("a_t", "10.0.0.5:80/tcp"),))
    bring(kernel, fenced(granted, Fence("a_t")))
    assert reached(kernel, "a_t") == [True, False, True, True, True, True]
    assert reached(kernel, "b_t") == [True] * 6
    bring(kernel, fenced(granted, Fence("a_t", loopback=False)))
    assert reached(kernel, "a_t") == [True, False, False, False, True, True]
    bring(kernel, fenced(granted, Fence("a_t", dns=False)))
    assert reached(kernel, "a_t") == [True, False, True, True, False, False]
    bring(kernel, fenced(granted, Fence("a_t", loopback=False, dns=False)))
    assert reached(kernel, "a_t") == [True] + [False] * 5
    assert reached(kernel, "b_t") == [True] * 6
    bring(kernel, granted)
    assert reached(kernel, "a_t") == [True] * 6


def test_the_last_fence_leaves_nothing_behind() -> None:
    kernel = KernelModel(make_policy())
    bring(kernel, fenced(DesiredState(), Fence("a_t"), Fence("gone_t")))
    assert kernel.nft.objects
    bring(kernel, DesiredState())
    assert not kernel.nft.objects
    assert not kernel.policy().fenced


def test_a_fence_of_a_domain_that_policy_lacks_turns_nothing_on() -> None:
    kernel = KernelModel(make_policy())
    assert bring(kernel, fenced(DesiredState(), Fence("gone_t"))) == []
    kernel.base = make_policy(domains=frozenset({*DOMAINS, "gone_t"}))
    bring(kernel, fenced(DesiredState(), Fence("gone_t")))
    assert reached(kernel, "gone_t") == [False, False, True, True, True, True]


def test_a_guard_holds_where_a_fence_spares() -> None:
    kernel = KernelModel(make_policy())
    bring(kernel, fenced(state_of("127.0.0.1:80"), Fence("a_t")))
    assert reached(kernel, "a_t") == [False, False, False, True, True, True]


def test_what_is_spared_is_what_policy_let_it_do_and_no_more() -> None:
    """With the baseline, and closed: of loopback's labels it has those that it had."""
    policy = baseline_policy(p_client_packet_t=Rights.both(frozenset({"a_t", "b_t"})))
    before = KernelModel(policy)
    state = state_of(bridge=Bridge.CLOSED, baseline=True)
    bring(before, state)
    had = reached(before, "a_t")
    assert had == [True, False, True, False, False, False]
    kept = frozenset({"p_client_packet_t"})
    bring(before, fenced(state, Fence("a_t", kept=Kept(kept, kept))))
    assert reached(before, "a_t") == [False, False, True, False, False, False]
    assert reached(before, "b_t") == had
    # Half of a right stays half.
    bring(before, fenced(state, Fence("a_t", kept=Kept(kept))))
    assert before.view().allowed("a_t", PLACES[2]) == {"send"}


def test_fencing_cuts_nothing_that_is_granted_or_spared_and_unfencing_neither() -> None:
    """The labels are there before the fence, and still there when it goes."""
    kernel = KernelModel(make_policy())
    granted = state_of(grants=(("a_t", "10.0.0.5:80/tcp"),))
    bring(kernel, granted)
    shut_in = fenced(granted, Fence("a_t"))
    assert bring(kernel, shut_in, granted) == [LoadModule, ApplyTable, LoadModule]
    assert bring(kernel, granted, shut_in) == [LoadModule, ApplyTable]


@pytest.mark.parametrize("fencing", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_fence_and_a_guard_that_change_together_open_nothing_in_between(
    *, fencing: bool, known: bool
) -> None:
    """Guarded on one side of the change and fenced on the other, a_t never gets there."""
    guarded = state_of("10.0.0.0/24", "in any:22")
    shut_in = fenced(state_of("in any:22"), Fence("a_t"))
    old, new = (guarded, shut_in) if fencing else (shut_in, guarded)
    kernel = KernelModel(make_policy())
    bring(kernel, old)
    for _ in stepwise(kernel, old if known else None, new):
        assert not kernel.view().allowed("a_t", point("10.0.0.5:80/tcp"))
    assert kernel.view().allowed("b_t", point("10.0.0.5:80/tcp")) == (BOTH if fencing else NEITHER)


def test_what_policy_lets_it_do_counts_again_as_soon_as_its_fence_is_gone() -> None:
    """What it kept on loopback is a part of a place that another domain is granted."""
    everything = Rights.both(frozenset({"a_t"}))
    kernel = KernelModel(make_policy(everything))
    closed = state_of("in any:22", grants=(("b_t", "any"),), bridge=Bridge.CLOSED)
    kept = frozenset({UNLABELED})
    shut_in = fenced(closed, Fence("a_t", kept=Kept(kept, kept)))
    bring(kernel, closed)
    for old, new in ((closed, shut_in), (shut_in, closed)):
        for _ in stepwise(kernel, old, new):
            assert kernel.view().allowed("a_t", point("127.0.0.1:80/tcp")) == BOTH
    assert kernel.view().allowed("a_t", point("10.0.0.5:80/tcp")) == BOTH


def test_fencing_again_keeps_what_policy_let_it_do_at_first() -> None:
    """By the second fence policy has no right of it left to see."""
    kept = Kept(frozenset({"p_client_packet_t"}))
    once = add_fence(Fence("a_t", kept=kept))(DesiredState())
    again = add_fence(Fence("a_t", dns=False))(once)
    assert again.fences == {Fence("a_t", dns=False, kept=kept)}
    assert remove_fence("a_t")(again) == DesiredState()


@st.composite
def pairs(draw: st.DrawFn) -> tuple[DesiredState, DesiredState, LoadedPolicy]:
    """Draw two states of which one at least has fences, and what else differs is one thing."""
    old = replace(draw(states()), fences=draw(some_fences()))
    new = replace(old, fences=draw(some_fences()))
    other = draw(states())
    what = draw(st.sampled_from(["fences", "fences", "guards", "grants", "settings"]))
    if what != "fences":
        new = replace(new, **{what: getattr(other, what)})
    if draw(st.booleans()):
        old, new = new, old
    return old, new, draw(policies())


@settings(max_examples=250)
@given(pairs(), st.data())
def test_no_step_lets_a_fenced_domain_out_nor_cuts_what_stays(
    pair: tuple[DesiredState, DesiredState, LoadedPolicy], data: st.DataObject
) -> None:
    old, new, policy = pair
    kernel = KernelModel(policy, optimizes=data.draw(st.booleans()))
    bring(kernel, old)
    places = points_of(old) + points_of(new)
    where = data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=8))
    domains = sorted(policy.domains - {"kernel_t"})
    first = {(d, to): kernel.view().allowed(d, to) for d in domains for to in where}
    known = data.draw(st.booleans())
    bridge_changes = old.settings.bridge is not new.settings.bridge
    for _ in stepwise(kernel, old if known else None, new):
        view = kernel.view()
        for (domain, to), had in first.items():
            gets, now = reference.allowed(new, policy, domain, to), view.allowed(domain, to)
            assert now <= had | gets, (domain, to)
            if known and not bridge_changes:
                assert had & gets <= now, (domain, to)
    view = kernel.view()
    for domain, to in first:
        assert view.allowed(domain, to) == reference.allowed(new, policy, domain, to)


@given(pairs(), st.data())
def test_a_fence_never_widens_and_changes_nothing_for_others(
    pair: tuple[DesiredState, DesiredState, LoadedPolicy], data: st.DataObject
) -> None:
    state, _, policy = pair
    without, within = KernelModel(policy), KernelModel(policy)
    bare = replace(state, fences=frozenset())
    bring(without, bare)
    honest = frozenset(replace(f, kept=_kept(policy, f.domain)) for f in state.fences)
    bring(within, replace(state, fences=honest))
    places: list[Point] = data.draw(st.lists(st.sampled_from(points_of(state)), max_size=8))
    checked = without.nft.objects or without.loaded().strict
    for to in places:
        for domain in sorted(policy.domains - {"kernel_t"}):
            had, has = without.view().allowed(domain, to), within.view().allowed(domain, to)
            shut_in = reference.fenced(state, domain, to)
            granted = reference.granted(state, domain, to)
            if shut_in and not granted:
                assert has == NEITHER
            elif checked:  # or the fence's own object turns on what was not asked for till then
                assert has == had, (domain, to)


def _kept(policy: LoadedPolicy, domain: str) -> Kept:
    labels = {**policy.labels, UNLABELED: policy.unlabeled}
    return Kept(
        frozenset(name for name, rights in labels.items() if domain in rights.send),
        frozenset(name for name, rights in labels.items() if domain in rights.recv),
    )
