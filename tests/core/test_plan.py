"""Plans on a model kernel: the order of every change, from any state to any other.

The kernel may be left after any step (the daemon is killed, the machine is slow), and packets flow
all the time, so what is allowed is asked after each one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.core.audience import NamedByContent
from appfwd.core.compiler import Artefacts, compile_state
from appfwd.core.module import Module
from appfwd.core.plan import (
    KEEP_AT_MOST,
    ApplyTable,
    LoadModule,
    RemoveModule,
    Snapshot,
    Step,
    plan,
)
from appfwd.core.pool import assigned
from appfwd.core.stages import stages
from appfwd.core.table import Table
from appfwd.core.verify import verify
from appfwd.model.domain import is_packet_type
from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.state import Bridge, DesiredState
from tests.core import reference
from tests.core.kernelmodel import KernelModel
from tests.core.reference import BOTH, Point
from tests.core.samples import (
    CONTEXTS,
    DOMAINS,
    UNLABELED,
    make_policy,
    points_of,
    policies,
    states,
)
from tests.core.stories import point, state_of


def whole_states() -> st.SearchStrategy[DesiredState]:
    """Return states of which some are switched off."""
    actives = st.sampled_from([True, True, True, False])
    return st.builds(
        lambda state, active: replace(state, settings=replace(state.settings, active=active)),
        states(),
        actives,
    )


def wanted_of(state: DesiredState, kernel: KernelModel) -> Artefacts:
    """Return what a daemon makes of a state that has just begun, and whose slots have rested."""
    return assigned(compile_state(state, kernel.machine()), kernel.snapshot(), CONTEXTS)


def steps_to(state: DesiredState, kernel: KernelModel) -> tuple[Step, ...]:
    return plan(kernel.snapshot(), wanted_of(state, kernel), UNLABELED)


def bring(kernel: KernelModel, state: DesiredState) -> tuple[Step, ...]:
    """Bring ``kernel`` to ``state`` as the daemon does; return the steps that it took."""
    steps = steps_to(state, kernel)
    for step in steps:
        kernel.apply(step)
    return steps


@dataclass(frozen=True)
class Change:
    """A change of state, with a policy that may lose or win domains before it."""

    old: DesiredState
    new: DesiredState
    before: LoadedPolicy
    after: LoadedPolicy

    def start(self) -> KernelModel:
        """Return a kernel in the old state, under the new policy."""
        kernel = KernelModel(self.before)
        bring(kernel, self.old)
        kernel.base = self.after
        return kernel

    def prefixes(self) -> Iterator[KernelModel]:
        """Yield the kernel before the first step and after each."""
        kernel = self.start()
        yield kernel.copy()
        for step in steps_to(self.new, kernel):
            kernel.apply(step)
            yield kernel.copy()


_SUBSETS = st.frozensets(st.sampled_from(DOMAINS), min_size=1)
_WHOLE, _POLICIES, _MAYBE = whole_states(), policies(), st.booleans()


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Draw a change; domains vanish from policy or come, rights to unlabelled packets differ."""
    old, new = draw(_WHOLE), draw(_WHOLE)
    if draw(_MAYBE):  # near states share much, as real changes do
        new = replace(old, grants=old.grants ^ new.grants, settings=new.settings)
    before = draw(_POLICIES)
    after = before
    if draw(_MAYBE):
        after = make_policy(draw(_POLICIES).unlabeled, draw(_SUBSETS))
    return Change(old, new, before, after)


def _points(change: Change, data: st.DataObject) -> list[Point]:
    where = points_of(change.old) + points_of(change.new)
    return data.draw(st.lists(st.sampled_from(where), min_size=1, max_size=6))


@pytest.mark.parametrize("opens", [True, False])
def test_a_bridge_and_a_guard_that_change_together_open_nothing_in_between(*, opens: bool) -> None:
    """Closed on one side of the change and guarded on the other, 10.0.0.5 is open to nobody."""
    closed, guarded = state_of("in any:22", bridge=Bridge.CLOSED), state_of("in any:22", "10.0.0.5")
    old, new = (closed, guarded) if opens else (guarded, closed)
    kernel = KernelModel(make_policy())
    bring(kernel, old)
    for step in steps_to(new, kernel):
        kernel.apply(step)
        assert not kernel.view().allowed("a_t", point("10.0.0.5:80/tcp"))


def _may_take_meanwhile(change: Change, domain: str) -> bool:
    """Tell whether safety may cost the domain what it had and will have, for a step.

    So it is where the bridge changes, and for a domain that is fenced on one side alone.
    """
    old, new = change.old, change.new
    fences = (old.fence_of(domain), new.fence_of(domain))
    return old.settings.bridge is not new.settings.bridge or fences.count(None) == 1


@given(changes(), st.data())
def test_no_step_allows_what_neither_state_allows_nor_takes_what_both_allow(
    change: Change, data: st.DataObject
) -> None:
    """Old is what the kernel had (policy may have changed under it), new is the one rule.

    What both allow may be refused for a step where :func:`_may_take_meanwhile` says so: safety
    comes first.
    """
    where = _points(change, data)
    first, *others = list(change.prefixes())
    old = first.view()
    views = [kernel.view() for kernel in others]
    for domain in sorted(change.after.domains - {"kernel_t"}):
        for to in where:
            had = old.allowed(domain, to)
            gets = reference.allowed(change.new, change.after, domain, to)
            for view in views:
                allowed = view.allowed(domain, to)
                assert allowed <= had | gets, (domain, to)
                assert _may_take_meanwhile(change, domain) or had & gets <= allowed, (domain, to)


@given(changes(), st.data())
def test_after_all_steps_the_one_rule_holds_and_nothing_is_left_to_do(
    change: Change, data: st.DataObject
) -> None:
    *_, kernel = change.prefixes()
    verify(kernel.snapshot(), wanted_of(change.new, kernel))
    assert steps_to(change.new, kernel) == ()
    view = kernel.view()
    for to in _points(change, data):
        for domain in sorted(change.after.domains - {"kernel_t"}):
            expected = reference.allowed(change.new, change.after, domain, to)
            assert view.allowed(domain, to) == expected, (domain, to)


@given(changes())
def test_a_label_in_the_table_has_in_policy_the_users_its_name_stands_for(change: Change) -> None:
    """After every step; users whom policy lost are left out."""
    kernels = list(change.prefixes())
    meaning: dict[str, Rights] = {}
    between = (state for state, _ in stages(change.old, change.new))
    for state in (change.old, *between):
        for policy in (change.before, change.after):
            meaning |= compile_state(state, KernelModel(policy).machine()).module.types
    present = Rights.both(change.after.domains)
    for kernel in kernels:
        view = kernel.view()
        table = kernel.snapshot().table
        assert table is not None
        for label in filter(is_packet_type, table.contexts):
            lost = meaning[label] - present
            assert view.rights(table.type_of(label)) == meaning[label] - lost, label


@given(changes())
def test_a_plan_cut_short_is_finished_by_the_next(change: Change) -> None:
    """The daemon is killed between any two steps, and starts again with no memory."""
    for kernel in change.prefixes():
        bring(kernel, change.new)
        verify(kernel.snapshot(), wanted_of(change.new, kernel))
        assert steps_to(change.new, kernel) == ()


@given(states(), policies())
def test_on_and_off_again_leaves_nothing(state: DesiredState, policy: LoadedPolicy) -> None:
    kernel = KernelModel(policy)
    bring(kernel, state)
    off = replace(state, settings=replace(state.settings, active=False))
    bring(kernel, off)
    assert kernel == KernelModel(policy)
    assert steps_to(off, kernel) == ()


@given(states(), st.lists(states(), max_size=3), policies())
def test_what_the_table_is_does_not_depend_on_the_way_there(
    goal: DesiredState, way: list[DesiredState], policy: LoadedPolicy
) -> None:
    """A state is reached through others, repeated, or at once: the same table, the same rights.

    Which type an audience has is another matter: on one way there was a slot for it.
    """
    direct, winding = KernelModel(policy), KernelModel(policy)
    bring(direct, goal)
    for state in [*way, *way[::-1], goal, goal]:
        bring(winding, state)
    ended, wanted = winding.snapshot().table, direct.snapshot().table
    assert ended is not None
    assert wanted is not None
    assert ended.contexts.keys() == wanted.contexts.keys()
    assert replace(ended, contexts=wanted.contexts) == wanted
    for name in wanted.contexts:
        mine, its = ended.type_of(name), wanted.type_of(name)
        assert winding.view().rights(mine) == direct.view().rights(its)


def test_a_table_whose_owner_died_is_adopted_and_not_touched_otherwise() -> None:
    kernel = KernelModel(make_policy())
    state = state_of("10.0.0.5", grants=(("a_t", "10.0.0.5"),))
    bring(kernel, state)
    before = kernel.copy()
    kernel.nft.orphan()
    (step,) = bring(kernel, state)
    assert isinstance(step, ApplyTable)
    assert len(step.commands) == 1
    assert kernel == before


def test_policy_comes_before_the_table_and_the_bridge_closes_before_it_and_opens_after() -> None:
    kernel = KernelModel(make_policy())
    guarded = state_of("10.0.0.5", grants=(("a_t", "10.0.0.5"), ("b_t", "10.0.0.6")))
    assert [type(step) for step in bring(kernel, guarded)] == [LoadModule, ApplyTable]
    closed = replace(guarded, settings=replace(guarded.settings, bridge=Bridge.CLOSED))
    load, table = bring(kernel, closed)
    assert isinstance(load, LoadModule)
    assert not load.module.bridge
    assert isinstance(table, ApplyTable)
    table, load = bring(kernel, guarded)
    assert isinstance(table, ApplyTable)
    assert isinstance(load, LoadModule)
    assert load.module.bridge
    bring(kernel, closed)
    off = replace(closed, settings=replace(closed.settings, active=False))
    assert [type(step) for step in bring(kernel, off)] == [ApplyTable, RemoveModule]


def test_the_next_grant_and_its_revoke_cost_no_policy_load() -> None:
    """A load takes seconds, so the types most likely wanted next are loaded beforehand."""
    kernel = KernelModel(make_policy())
    some = (("a_t", "10.0.0.5"), ("b_t", "10.0.0.6"))
    bring(kernel, state_of("10.0.0.0/24", grants=some))
    for grants in ((*some, ("a_t", "10.0.0.7")), some[:1], (), (("b_t", "10.0.0.9"),), some):
        steps = bring(kernel, state_of("10.0.0.0/24", grants=grants))
        assert [type(step) for step in steps] == [ApplyTable]


def test_a_domain_that_comes_back_has_its_grant_again() -> None:
    grants = (("a_t", "10.0.0.5:80/tcp"),)
    state, to = state_of("10.0.0.5", grants=grants), point("10.0.0.5:80/tcp")
    kernel = KernelModel(make_policy())
    bring(kernel, state)
    kernel.base = make_policy(domains=frozenset({"b_t"}))
    bring(kernel, state)
    assert kernel.view().allowed("b_t", to) == frozenset()
    kernel.base = make_policy()
    bring(kernel, state)
    assert kernel.view().allowed("a_t", to) == BOTH
    assert kernel.view().allowed("b_t", to) == frozenset()


def test_idle_types_do_not_pile_up_and_named_ones_are_never_dropped() -> None:
    """Some idle types are kept, not all; those that the table names are kept whatever they are."""

    def only(*domains: str) -> dict[str, Rights]:
        rights = (Rights.both(frozenset({domain})) for domain in domains)
        return {NamedByContent().type_for(one): one for one in rights}

    idle = only(*(f"d{n}" for n in range(KEEP_AT_MOST + 50)))
    named = only(*(f"z{n}" for n in range(20)))
    table = Table(dict.fromkeys(named, "context"))
    wanted = wanted_of(state_of("10.0.0.5"), KernelModel(make_policy()))
    for had, at_most in ((table, KEEP_AT_MOST + len(named) + 2), (None, 10_000)):
        first, *_ = plan(Snapshot(Module({**idle, **named}), had), wanted, UNLABELED)
        assert isinstance(first, LoadModule)
        assert named.keys() <= first.module.types.keys()
        assert len(first.module.types) <= at_most


@pytest.mark.parametrize("bridge", list(Bridge))
def test_the_kernels_own_rights_are_no_users(bridge: Bridge) -> None:
    """Stock policy lets kernel_t send unlabelled packets, and our module every one of ours."""
    policy = make_policy(Rights.both(frozenset({"kernel_t", "a_t"})))
    state = state_of(
        "10.0.0.6", grants=(("b_t", "10.0.0.5"), ("kernel_t", "10.0.0.6")), bridge=bridge
    )
    kernel = KernelModel(policy)
    bring(kernel, state)
    verify(kernel.snapshot(), wanted_of(state, kernel))
    assert steps_to(state, kernel) == ()
