"""Slots while domains come to policy and go from it: no one gets in who is not of the audience.

A package is removed and comes again at any moment, also while no daemon is there to see it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.core import pool
from appfwd.core.compiler import compile_state
from appfwd.core.plan import LoadModule, plan
from appfwd.core.pool import assigned
from appfwd.core.verify import verify
from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.state import DesiredState
from tests.core.kernelmodel import KernelModel
from tests.core.samples import CONTEXTS, KERNEL, UNLABELED, baseline_policy, make_policy
from tests.core.stories import point
from tests.core.test_plan import bring, steps_to, wanted_of
from tests.core.test_pool import (
    ALL,
    PAIRS,
    WORLDS,
    World,
    closed,
    everybody,
    guarded,
    kinds,
    slots_of,
)

DOMAINS = frozenset({"a_t", "b_t", "c_t"})
_SOME = st.frozensets(st.sampled_from(sorted(DOMAINS)))


def with_domains(policy: LoadedPolicy, domains: frozenset[str]) -> LoadedPolicy:
    """Return a policy that has lost all other domains."""
    there = domains | {KERNEL}

    def left(rights: Rights) -> Rights:
        return Rights(rights.send & there, rights.recv & there)

    return replace(
        policy,
        domains=there,
        types=policy.types - DOMAINS | domains,
        unlabeled=left(policy.unlabeled),
        labels={name: left(rights) for name, rights in policy.labels.items()},
    )


def with_users(policy: LoadedPolicy, send: frozenset[str], recv: frozenset[str]) -> LoadedPolicy:
    """Return a policy in which others may use what is not guarded."""
    users = Rights(send, recv)
    if policy.labels:
        labels = baseline_policy(p_client_packet_t=users).labels
        return replace(policy, labels=labels)
    return replace(policy, unlabeled=make_policy(users).unlabeled)


class Watched:
    """A kernel, and what the audiences that its table names were made of."""

    def __init__(self, policy: LoadedPolicy) -> None:
        self.kernel = KernelModel(policy)
        self.meant: dict[str, Rights] = {}
        #: What a slot stood for when a table named it last, not long ago.
        self.carried: dict[str, Rights] = {}

    def load(self, policy: LoadedPolicy) -> None:
        """Load another policy of the distribution, with our module as it is."""
        self.kernel.base = policy
        self.kernel.install(self.kernel.module)
        self.hold()

    def go(self, state: DesiredState, taken: int | None = None, *, rested: bool = True) -> None:
        """Take steps to a state."""
        if rested:
            self.carried = {}
        kernel = self.kernel
        compiled = compile_state(state, kernel.machine())
        self.meant |= compiled.module.types
        wanted = assigned(compiled, kernel.snapshot(), CONTEXTS, frozenset() if rested else ALL)
        for step in plan(kernel.snapshot(), wanted, UNLABELED)[:taken]:
            kernel.apply(step)
            self.hold()

    def hold(self) -> None:
        """Hold that nobody may use a slot in the table who is not of its audience."""
        view = self.kernel.view()
        self.carried |= {slot: self.meant[name] for name, slot in slots_of(self.kernel).items()}
        for slot, meant in self.carried.items():
            found = view.rights(slot)
            assert found is None or not found - meant, (slot, found, meant)

    def done(self, state: DesiredState) -> None:
        """Hold that all comes to rest."""
        for _ in range(3):
            self.go(state)
        verify(self.kernel.snapshot(), wanted_of(state, self.kernel))
        assert steps_to(state, self.kernel) == ()


#: Grants, those whom policy has by then, who may use what is not guarded (None: as before), whether
#: slots have rested, and the steps taken before the daemon is killed.
_STORY = st.tuples(
    PAIRS,
    _SOME,
    st.one_of(st.none(), st.tuples(_SOME, _SOME)),
    st.booleans(),
    st.sampled_from((None, None, 0, 1, 2)),
)
_Story = tuple[
    set[tuple[str, str]],
    frozenset[str],
    tuple[frozenset[str], frozenset[str]] | None,
    bool,
    int | None,
]


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@given(st.lists(_STORY, min_size=2, max_size=6))
def test_nobody_gets_in_by_a_slot_whoever_comes_and_goes(
    world: World, stories: list[_Story]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "SLOTS", 2)
        patch.setattr(pool, "SLOTS_AT_MOST", 3)
        policy, state_with = world
        watched = Watched(policy)
        state = state_with(*((domain, "10.0.0.5") for domain in sorted(DOMAINS)))
        watched.go(state)
        for grants, domains, users, rested, taken in stories:
            policy = policy if users is None else with_users(world.policy, *users)
            watched.load(with_domains(policy, domains))
            state = state_with(*grants)
            watched.go(state, taken, rested=rested)
        watched.done(state)


def test_a_slot_that_another_module_lets_somebody_use_is_passed_over() -> None:
    kernel = everybody()
    both = guarded(("a_t", "10.0.0.5"), ("b_t", "10.0.0.5"))
    bring(kernel, both)
    (slot,) = slots_of(kernel).values()
    bring(kernel, guarded())  # the booleans are still on, so that slot would come first
    kernel.install(f"{kernel.module}(allow c_t {slot} (packet (send)))\n")
    assert LoadModule not in kinds(bring(kernel, both))
    (other,) = slots_of(kernel).values()
    assert other != slot
    assert not kernel.view().allowed("c_t", point("10.0.0.5:80/tcp"))


def test_one_who_comes_back_finds_no_boolean_on_of_a_slot_that_is_anothers() -> None:
    """A package is removed and comes again; its grant was revoked meanwhile."""
    watched = Watched(make_policy())
    alone = (("a_t", "10.0.0.1"), ("b_t", "10.0.0.2"), ("c_t", "10.0.0.3"))
    watched.go(guarded(*alone))
    three = guarded(*alone, *((d, "10.0.0.5") for d in sorted(DOMAINS)))
    watched.go(three)
    assert slots_of(watched.kernel)
    watched.load(with_domains(make_policy(), frozenset({"a_t", "b_t"})))
    watched.go(three)
    watched.go(guarded(*alone))
    watched.go(guarded(*alone, ("a_t", "10.0.0.5"), ("b_t", "10.0.0.5")))
    assert slots_of(watched.kernel)
    watched.load(make_policy())


def test_a_group_all_of_which_policy_lost_is_no_key_to_a_slot_that_is_anothers() -> None:
    policy = make_policy(Rights.both(frozenset({"c_t"})))
    watched = Watched(policy)
    alone = (("a_t", "10.0.0.1"), ("b_t", "10.0.0.2"))
    watched.go(closed(*alone))
    both = (("a_t", "10.0.0.5"), ("b_t", "10.0.0.5"))
    watched.go(closed(*alone, *both))
    assert slots_of(watched.kernel)
    gone = with_domains(policy, frozenset({"a_t", "b_t"}))
    watched.load(gone)
    watched.go(closed(*alone, *both))
    watched.go(closed(*alone))
    watched.go(closed(*alone, *both))
    watched.load(policy)
