"""Slots: a new audience of enrolled domains costs no policy load, and no slot changes its meaning.

A slot's meaning is whom it lets through; it may only change while no table has named it for a
while, since packets under way may carry it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.core import pool
from appfwd.core.compiler import Artefacts, compile_state
from appfwd.core.module import Module, Pool
from appfwd.core.plan import ApplyTable, LoadModule, SetBooleans, Step, plan, table_alone
from appfwd.core.pool import assigned
from appfwd.core.verify import verify
from appfwd.errors import VerifyFailed
from appfwd.model.domain import is_packet_type
from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.slots import group_attribute, is_slot, slot_name, switch_name
from appfwd.model.state import Bridge, DesiredState
from tests.core import reference
from tests.core.kernelmodel import KernelModel
from tests.core.reference import Point
from tests.core.samples import CONTEXTS, UNLABELED, baseline_policy, make_policy
from tests.core.stories import point, state_of
from tests.core.test_plan import bring, steps_to, wanted_of

HOSTS = [f"10.0.0.{n}" for n in range(5, 9)]
PAIRS = st.sets(st.tuples(st.sampled_from(("a_t", "b_t", "c_t")), st.sampled_from(HOSTS)))
ALL = frozenset(map(slot_name, range(pool.SLOTS_AT_MOST)))


def guarded(*grants: tuple[str, str], bridge: Bridge = Bridge.OPEN) -> DesiredState:
    return state_of("10.0.0.0/24", grants=grants, bridge=bridge)


def everybody(*grants: tuple[str, str]) -> KernelModel:
    """Return a kernel in which all three domains are enrolled."""
    kernel = KernelModel(make_policy())
    bring(kernel, guarded(("a_t", "10.0.0.1"), ("b_t", "10.0.0.2"), ("c_t", "10.0.0.3"), *grants))
    assert kernel.snapshot().module.pool == Pool(pool.SLOTS, frozenset({"a_t", "b_t", "c_t"}))
    return kernel


def kinds(steps: Sequence[Step]) -> list[type]:
    return [type(step) for step in steps]


def slots_of(kernel: KernelModel) -> dict[str, str]:
    """Return the slots that the table names, by the audience's name."""
    table = kernel.snapshot().table
    assert table is not None
    at = {name: table.type_of(name) for name in table.contexts}
    return {name: slot for name, slot in at.items() if is_slot(slot)}


def test_an_audience_of_domains_that_are_enrolled_costs_no_policy_load() -> None:
    kernel = everybody()
    two = guarded(("a_t", "10.0.0.5"), ("b_t", "10.0.0.5"))
    assert kinds(bring(kernel, two)) == [SetBooleans, ApplyTable]
    view = kernel.view()
    to = point("10.0.0.5:80/tcp")
    assert [bool(view.allowed(d, to)) for d in ("a_t", "b_t", "c_t")] == [True, True, False]
    three = guarded(*((d, "10.0.0.5") for d in ("a_t", "b_t", "c_t")))
    assert kinds(bring(kernel, three)) == [SetBooleans, ApplyTable]
    assert kinds(bring(kernel, guarded())) == [ApplyTable]
    # The slot is still that audience's, and nothing need be set.
    assert kinds(bring(kernel, two)) == [ApplyTable]


def test_who_is_not_enrolled_is_so_with_the_load_that_the_audience_takes() -> None:
    kernel = KernelModel(make_policy())
    bring(kernel, guarded(("a_t", "10.0.0.1"), ("b_t", "10.0.0.1")))
    state = guarded(("a_t", "10.0.0.1"), ("b_t", "10.0.0.1"), ("c_t", "10.0.0.1"))
    assert kinds(bring(kernel, state)) == [LoadModule, ApplyTable]
    assert kernel.snapshot().module.pool.domains == {"a_t", "b_t", "c_t"}
    assert not slots_of(kernel)
    moved = guarded(("a_t", "10.0.0.2"), ("c_t", "10.0.0.2"))
    assert kinds(bring(kernel, moved)) == [SetBooleans, ApplyTable]


@pytest.mark.parametrize("world", ["fenced", "closed", "labelled"])
def test_what_a_grant_adds_to_is_enrolled_as_one(world: str) -> None:
    """Who may use the place anyway is a group, and grants beside it cost no load."""
    policy, state_with = WORLDS[world]
    kernel = KernelModel(policy)
    bring(kernel, state_with(("a_t", "10.0.0.5:80/tcp"), ("b_t", "10.0.0.7:80/tcp")))
    groups = kernel.snapshot().module.pool.groups
    assert groups
    both = state_with(("a_t", "10.0.0.5:80/tcp"), ("b_t", "10.0.0.5:80/tcp"))
    assert kinds(bring(kernel, both)) == [SetBooleans, ApplyTable]
    (slot,) = slots_of(kernel).values()
    on = kernel.snapshot().module.on[slot]
    (group,) = on & groups.keys()
    assert on - {group} == {"a_t", "b_t"}
    view, to = kernel.view(), point("10.0.0.5:80/tcp")
    assert all(view.allowed(domain, to) for domain in ("a_t", "b_t"))


@pytest.mark.parametrize("permission", ["send", "recv"])
def test_a_group_that_another_module_adds_to_is_used_no_more(permission: str) -> None:
    """Its name no longer says who it is: the audience leaves the slot for a type of its own."""
    kernel = KernelModel(make_policy(Rights.both(C)))
    bring(kernel, closed(("a_t", "10.0.0.5"), ("b_t", "10.0.0.7")))
    state = closed(("a_t", "10.0.0.5"), ("b_t", "10.0.0.5"))
    bring(kernel, state)
    (slot,) = slots_of(kernel).values()
    (group,) = kernel.snapshot().module.pool.groups
    ours = kernel.module
    attribute = group_attribute(group, permission)
    kernel.install(f"{ours}(optional theirs (typeattributeset {attribute} (kernel_t)))\n")
    assert kernel.snapshot().module.pool.groups == {}
    steps = bring(kernel, state)
    assert LoadModule in kinds(steps)
    assert slot not in slots_of(kernel).values()


def test_one_domain_alone_has_no_pool() -> None:
    kernel = KernelModel(make_policy())
    bring(kernel, guarded(("a_t", "10.0.0.1")))
    assert kernel.snapshot().module.pool == Pool()
    assert "boolean" not in kernel.module


def test_a_domain_with_a_dot_in_its_name_gets_types_of_its_own() -> None:
    policy = make_policy(domains=frozenset({"a_t", "b_t", "block.c_t"}))
    kernel = KernelModel(policy)
    bring(kernel, guarded(("a_t", "10.0.0.1"), ("b_t", "10.0.0.1"), ("block.c_t", "10.0.0.2")))
    assert kernel.snapshot().module.pool.domains == {"a_t", "b_t"}
    mixed = guarded(("a_t", "10.0.0.1"), ("block.c_t", "10.0.0.1"))
    assert kinds(bring(kernel, mixed)) == [LoadModule, ApplyTable]


def test_a_slot_that_rests_is_given_to_nobody_else() -> None:
    kernel = everybody()
    bring(kernel, guarded(("a_t", "10.0.0.5"), ("b_t", "10.0.0.5")))
    (had,) = slots_of(kernel).values()
    bring(kernel, guarded())
    others = guarded(("a_t", "10.0.0.5"), ("c_t", "10.0.0.5"))
    compiled = compile_state(others, kernel.machine())
    (slot,) = _slots(assigned(compiled, kernel.snapshot(), CONTEXTS, {had}))
    assert slot != had
    unrested = ALL - {had}
    rested = _slots(assigned(compiled, kernel.snapshot(), CONTEXTS, unrested))
    assert rested == [had]  # nothing else is left, and it has rested
    own = compile_state(guarded(("a_t", "10.0.0.6"), ("b_t", "10.0.0.6")), kernel.machine())
    assert _slots(assigned(own, kernel.snapshot(), CONTEXTS, ALL)) == [had]  # its own meaning
    assert _slots(assigned(compiled, kernel.snapshot(), CONTEXTS, ALL)) == []


def _slots(wanted: Artefacts) -> list[str]:
    return sorted(filter(is_slot, wanted.module.types))


def test_without_a_slot_left_the_pool_grows_with_the_load_that_the_audience_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "SLOTS", 1)
    monkeypatch.setattr(pool, "SLOTS_AT_MOST", 2)
    kernel = everybody()
    ab = (("a_t", "10.0.0.5"), ("b_t", "10.0.0.5"))
    bc = (("b_t", "10.0.0.6"), ("c_t", "10.0.0.6"))
    ac = (("a_t", "10.0.0.7"), ("c_t", "10.0.0.7"))
    abc = tuple((d, "10.0.0.8") for d in ("a_t", "b_t", "c_t"))
    assert kinds(bring(kernel, guarded(*ab))) == [SetBooleans, ApplyTable]
    first = slots_of(kernel)
    assert kinds(bring(kernel, guarded(*ab, *bc))) == [LoadModule, ApplyTable]
    assert kernel.snapshot().module.pool.slots == 2
    assert kinds(bring(kernel, guarded(*ab, *bc, *ac))) == [SetBooleans, ApplyTable]
    assert slots_of(kernel).items() >= first.items()
    assert kinds(bring(kernel, guarded(*ab, *bc, *ac, *abc))) == [LoadModule, ApplyTable]
    assert kernel.snapshot().module.pool.slots == 2


def test_who_uses_a_slot_stays_enrolled_whoever_else_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "ENROLLED_AT_MOST", 2)
    kernel = KernelModel(make_policy())
    bring(kernel, guarded(("a_t", "10.0.0.1"), ("b_t", "10.0.0.2")))
    ab = (("a_t", "10.0.0.5"), ("b_t", "10.0.0.5"))
    bring(kernel, guarded(*ab))
    assert slots_of(kernel)
    many = (("c_t", f"10.0.0.{n}") for n in range(20, 30))
    state = guarded(*ab, *many)
    assert kinds(bring(kernel, state)) == [LoadModule, ApplyTable]
    assert kernel.snapshot().module.pool.domains == {"a_t", "b_t"}
    to = point("10.0.0.5:80/tcp")
    assert kernel.view().allowed("a_t", to)
    # While the table still names the slot, too: both may go on where they were and will be.
    more = guarded(*ab, ("c_t", "10.0.0.5"), *(("c_t", f"10.0.0.{n}") for n in range(20, 30)))
    for step in steps_to(more, kernel):
        kernel.apply(step)
        assert kernel.view().allowed("a_t", to)
        assert kernel.view().allowed("b_t", to)
    assert not slots_of(kernel)


def test_a_slot_is_given_on_with_the_load_that_takes_away_who_had_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The boolean of one who is enrolled no more is gone by then, and need not be set."""
    monkeypatch.setattr(pool, "ENROLLED_AT_MOST", 3)
    monkeypatch.setattr(pool, "SLOTS", 1)
    kernel = KernelModel(make_policy(domains=frozenset({"a_t", "b_t", "c_t", "d_t"})))
    abc = ("a_t", "b_t", "c_t")
    bring(kernel, guarded(*((domain, f"10.0.0.{n}") for n, domain in enumerate(abc, 1))))
    bring(kernel, guarded(*((domain, "10.0.0.5") for domain in abc)))
    (slot,) = slots_of(kernel).values()
    bring(kernel, guarded())
    many = [("d_t", f"10.0.0.{n}") for n in range(20, 30)]
    state = guarded(("a_t", "10.0.0.5"), ("b_t", "10.0.0.5"), *many)
    assert kinds(bring(kernel, state)) == [LoadModule, ApplyTable]
    assert set(slots_of(kernel).values()) == {slot}
    assert kernel.snapshot().module.pool.domains == {"a_t", "b_t", "d_t"}


@pytest.mark.parametrize("domain", ["a_t", "c_t"])
def test_a_boolean_set_by_hand_is_noticed_and_set_right(domain: str) -> None:
    """Off for one of the audience, or on for somebody else."""
    kernel = everybody()
    state = guarded(("a_t", "10.0.0.5"), ("b_t", "10.0.0.5"))
    bring(kernel, state)
    (slot,) = slots_of(kernel).values()
    name = switch_name(slot, domain)
    kernel.set_booleans({name: not kernel.booleans[name]})
    with pytest.raises(VerifyFailed, match=slot):
        verify(kernel.snapshot(), wanted_of(state, kernel))
    assert kinds(bring(kernel, state)) == [SetBooleans]
    to = point("10.0.0.5:80/tcp")
    assert [bool(kernel.view().allowed(d, to)) for d in ("a_t", "b_t", "c_t")] == [
        True,
        True,
        False,
    ]


def test_after_a_boot_all_booleans_are_off_and_the_table_is_gone() -> None:
    kernel = everybody()
    state = guarded(("a_t", "10.0.0.5"), ("b_t", "10.0.0.5"))
    bring(kernel, state)
    kernel.booleans = dict.fromkeys(kernel.booleans, False)
    kernel.nft = KernelModel(make_policy()).nft
    assert kinds(bring(kernel, state)) == [SetBooleans, ApplyTable]


def test_a_slot_that_a_table_of_another_names_may_be_any_and_is_not_given_away() -> None:
    kernel = everybody()
    wanted = compile_state(guarded(("a_t", "10.0.0.5"), ("b_t", "10.0.0.5")), kernel.machine())
    unknown = replace(kernel.snapshot(), table=None)
    assert _slots(assigned(wanted, unknown, CONTEXTS)) == []


def test_while_a_policy_is_loaded_only_what_is_there_is_used() -> None:
    """A grant that ends then closes the table, which sets no boolean."""
    kernel = everybody()
    bring(kernel, guarded(("a_t", "10.0.0.5"), ("b_t", "10.0.0.5")))
    loading = kernel.snapshot().module
    for state, possible in (
        (guarded(("a_t", "10.0.0.5")), True),
        (guarded(("a_t", "10.0.0.5"), ("b_t", "10.0.0.6")), True),
        (guarded(("a_t", "10.0.0.5"), ("b_t", "10.0.0.5"), ("a_t", "10.0.0.6")), True),
        (guarded(("a_t", "10.0.0.5"), ("c_t", "10.0.0.5")), False),
    ):
        snapshot = kernel.snapshot()
        wanted = assigned(compile_state(state, kernel.machine()), snapshot, CONTEXTS, anew=False)
        assert (table_alone(snapshot, wanted, loading) is not None) is possible
        types = {name: r for name, r in loading.types.items() if not is_slot(name)}
        lost = replace(loading, types=types, pool=Pool())
        uses = bool(_slots(wanted))
        assert (table_alone(snapshot, wanted, lost) is not None) is (possible and not uses)


class Story:
    """States one after another, each step of which is held against the one rule."""

    def __init__(self, before: DesiredState, policy: LoadedPolicy) -> None:
        self.kernel = KernelModel(policy)
        self.state = before
        bring(self.kernel, before)
        self.where = [point(f"{host}:80/tcp") for host in HOSTS]
        #: What each slot that a table named since the last rest stood for.
        self.meant: dict[str, Rights | None] = {}

    def go(self, state: DesiredState, *, rested: bool, steps_taken: int | None = None) -> None:
        """Go on to a state; stop after some steps, as one who is killed."""
        if rested:
            self.meant = {}
        self.note()
        snapshot = self.kernel.snapshot()
        resting = frozenset() if rested else ALL
        wanted = assigned(compile_state(state, self.kernel.machine()), snapshot, CONTEXTS, resting)
        had = self.views()
        for step in plan(snapshot, wanted, UNLABELED)[:steps_taken]:
            self.kernel.apply(step)
            self.note()
            for one, now in self.views().items():
                after = reference.allowed(state, self.kernel.base, *one)
                assert had[one] & after <= now <= had[one] | after, one
        self.state = state

    def note(self) -> None:
        """Hold that a slot that packets may carry means what it did."""
        view = self.kernel.view()
        for slot in slots_of(self.kernel).values():
            self.meant.setdefault(slot, view.rights(slot))
        for slot, meaning in self.meant.items():
            assert view.rights(slot) == meaning, slot

    def done(self) -> None:
        """Hold that the one rule is in force, and nothing left to do."""
        verify(self.kernel.snapshot(), wanted_of(self.state, self.kernel))
        assert steps_to(self.state, self.kernel) == ()
        for one, now in self.views().items():
            assert now == reference.allowed(self.state, self.kernel.base, *one), one

    def views(self) -> dict[tuple[str, Point], frozenset[str]]:
        """Return what each domain may do where."""
        view = self.kernel.view()
        domains = ("a_t", "b_t", "c_t")
        return {(d, to): view.allowed(d, to) for d in domains for to in self.where}


class World(NamedTuple):
    """A policy, and what makes a state of grants and the bridge."""

    policy: LoadedPolicy
    state: Callable[..., DesiredState]


def fenced(*grants: tuple[str, str], bridge: Bridge = Bridge.OPEN) -> DesiredState:
    return state_of(grants=grants, bridge=bridge, fences=("a_t", "b_t", "c_t"))


def closed(*grants: tuple[str, str], bridge: Bridge = Bridge.OPEN) -> DesiredState:
    assert bridge
    return state_of(grants=grants, bridge=Bridge.CLOSED)


def labelled(*grants: tuple[str, str], bridge: Bridge = Bridge.OPEN) -> DesiredState:
    return state_of("10.0.0.6", grants=grants, bridge=bridge, baseline=True)


C, BC = frozenset({"c_t"}), frozenset({"b_t", "c_t"})
WORLDS = {
    "guarded": World(make_policy(), guarded),
    "fenced": World(make_policy(), fenced),
    "closed": World(make_policy(Rights(C, BC)), closed),
    "labelled": World(baseline_policy(p_client_packet_t=Rights(BC, C)), labelled),
}


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("room", [(1, 32), (2, 2), (32, 32), (32, 2)])
@given(
    before=PAIRS,
    states=st.lists(
        st.tuples(PAIRS, st.booleans(), st.sampled_from((None, None, 0, 1, 2))), max_size=6
    ),
    bridge=st.sampled_from(list(Bridge)),
)
def test_no_slot_changes_its_meaning_and_no_step_opens_what_it_should_not(
    world: World,
    room: tuple[int, int],
    before: set[tuple[str, str]],
    states: list[tuple[set[tuple[str, str]], bool, int | None]],
    bridge: Bridge,
) -> None:
    """Whatever follows what, however short the pool, rested or not, killed after any step."""
    with pytest.MonkeyPatch.context() as patch:
        slots, enrolled = room
        patch.setattr(pool, "SLOTS", slots)
        patch.setattr(pool, "SLOTS_AT_MOST", slots + 1)
        patch.setattr(pool, "ENROLLED_AT_MOST", enrolled)
        policy, state_with = world
        story = Story(state_with(*before, bridge=bridge), policy)
        for grants, rested, taken in states:
            story.go(state_with(*grants, bridge=bridge), rested=rested, steps_taken=taken)
        story.go(story.state, rested=True)
        story.done()


def test_labels_in_the_table_are_ours_and_policy_has_what_they_stand_for() -> None:
    kernel = everybody()
    bring(kernel, guarded(("a_t", "10.0.0.5"), ("b_t", "10.0.0.5")))
    (name,) = slots_of(kernel)
    assert is_packet_type(name)
    assert name not in kernel.snapshot().module.types
    assert isinstance(kernel.snapshot().module, Module)
