"""Grants that end: on time by both clocks, over reboots and set clocks, and never by mistake."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Set as AbstractSet
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd import reconciler as module
from appfwd.errors import TableFailed
from appfwd.model.changes import (
    add_grant,
    add_grants,
    add_guard,
    confirm,
    end_grants_at,
    remove_grant,
)
from appfwd.model.ends import After, At, End, Finish, Moment, Session, WithBoot, WithSession
from appfwd.model.state import (
    ENDED_AT_MOST,
    ENDED_FOR,
    DesiredState,
    Ended,
    Ending,
    Grant,
    Guard,
)
from tests.core.stories import place
from tests.core.world import HOST, World, run

GRANT, OTHER = Grant("a_t", HOST), Grant("b_t", HOST)
#: Unix time when CLOCK_BOOTTIME of the first boot was 0.
EPOCH = 1_000_000.0
ENDS: tuple[End, ...] = (After(60.0), At(EPOCH + 160.0), WithBoot())


def _at(seconds: float, boot: str = "boot-1") -> Moment:
    return Moment(boot, seconds)


def granted(end: End | None, at: float = 100.0) -> DesiredState:
    return add_grant(GRANT, end)(DesiredState()).begun(_at(at), EPOCH + at)


def after(state: DesiredState, now: Moment, wall: float) -> AbstractSet[Grant]:
    return end_grants_at(now, wall, {GRANT: "7"})(state).grants


@pytest.mark.parametrize("end", ENDS[:2])
def test_it_ends_at_its_time_and_not_before(end: End) -> None:
    state = granted(end)
    assert state.seconds_left(_at(130), EPOCH + 130) == 30
    assert after(state, _at(159.9), EPOCH + 159.9) == {GRANT}
    ended = end_grants_at(_at(160), EPOCH + 160, {GRANT: "7"})(state)
    assert ended == DesiredState(ended=frozenset({Ended("7", GRANT, EPOCH + 160)}))


def test_a_length_of_time_does_not_care_who_sets_the_clock() -> None:
    state = granted(After(60.0))
    for wall in (0.0, EPOCH + 1e9):
        assert after(state, _at(159), wall) == {GRANT}
        assert after(state, _at(160), wall) == set()


def test_a_time_of_day_is_the_clocks() -> None:
    state = granted(At(EPOCH + 160))
    assert after(state, _at(101), EPOCH + 160) == set()
    assert after(state, _at(1e6), EPOCH + 159) == {GRANT}


@pytest.mark.parametrize(
    ("wall", "left"),
    [
        (130.0, 30.0),
        (159.0, 1.0),
        (160.0, 0.0),
        (1e9, 0.0),
        (100.0, 60.0),
        (99.0, 0.0),
        (-1e6, 0.0),
    ],
)
def test_over_a_reboot_unix_time_counts_and_a_clock_set_back_ends_it(
    wall: float, left: float
) -> None:
    """A clock that stands before the grant began was set back, so nobody knows what is left."""
    state = granted(After(60.0))
    reboot = _at(5.0, "boot-2")
    assert state.seconds_left(reboot, EPOCH + wall) == pytest.approx(left)
    assert (after(state, reboot, EPOCH + wall) == set()) is (left == 0)
    # From then on the clock of that boot counts, whoever sets the other one.
    again = state.begun(reboot, EPOCH + wall)
    assert again.seconds_left(_at(5.5, "boot-2"), 0.0) == pytest.approx(left - 0.5)


def test_with_the_boot_it_ends_in_any_other() -> None:
    state = granted(WithBoot())
    assert after(state, _at(1e9), EPOCH + 1e9) == {GRANT}
    assert after(state, _at(101, "boot-2"), EPOCH + 101) == set()


def test_before_it_is_in_force_its_time_does_not_run() -> None:
    """A policy load may take as long as the grant."""
    waiting = add_grant(GRANT, After(60.0))(DesiredState())
    assert waiting.seconds_left(_at(1e6), EPOCH) == 60
    assert waiting.begun(_at(500), EPOCH).seconds_left(_at(500), EPOCH) == 60


def test_what_is_granted_for_good_stays_so_and_a_later_end_counts() -> None:
    good = add_grant(GRANT)(DesiredState())
    assert add_grant(GRANT, After(1.0))(good) == good
    twice = add_grant(GRANT, At(9e9))(granted(After(60.0)))
    assert twice.endings == {Ending(GRANT, At(9e9))}
    assert not add_grant(GRANT)(granted(After(60.0))).endings


@pytest.mark.parametrize("end", ENDS)
def test_no_other_command_makes_it_permanent(end: End) -> None:
    state = granted(end)
    for change in (add_grants((GRANT, OTHER)), add_grant(OTHER)):
        assert change(state).endings == state.endings
    tried = replace(state, trials=granted(end).trials)
    with pytest.raises(Exception, match="Nothing waits"):
        confirm()(tried)


def test_revoked_and_granted_again_it_has_no_end_left() -> None:
    state = add_grant(GRANT)(remove_grant(GRANT)(granted(After(60.0))))
    assert state == DesiredState(grants=frozenset({GRANT}))


def test_what_ended_is_remembered_for_a_day_and_not_without_bound() -> None:
    state = end_grants_at(_at(160), EPOCH + 160, {})(granted(After(60.0)))
    assert state.begun(_at(1), EPOCH + 160 + ENDED_FOR - 1).ended
    assert not state.begun(_at(1), EPOCH + 160 + ENDED_FOR).ended
    many = frozenset(Ended(str(n), GRANT, float(n)) for n in range(ENDED_AT_MOST + 50))
    kept = DesiredState(ended=many).begun(_at(1), 100.0).ended
    assert {one.at for one in kept} == {float(n) for n in range(50, ENDED_AT_MOST + 50)}


_TIMES = st.floats(0, 300)


@given(
    st.lists(
        st.tuples(st.sampled_from(("a_t", "b_t")), st.sampled_from((None, *ENDS))), max_size=6
    ),
    _TIMES,
    st.booleans(),
)
def test_ending_twice_is_ending_once_and_nothing_else_changes(
    story: list[tuple[str, End | None]],
    at: float,
    reboot: bool,  # noqa: FBT001
) -> None:
    state = DesiredState()
    for domain, end in story:
        state = add_grant(Grant(domain, HOST), end)(state).begun(_at(100), EPOCH + 100)
    now, wall = _at(at, "boot-2" if reboot else "boot-1"), EPOCH + 100 + at
    once = end_grants_at(now, wall, {})(state)
    assert end_grants_at(now, wall, {})(once) == once
    over = {e.grant for e in state.endings if e.end.left(now, wall) <= 0}
    assert once.grants == state.grants - over
    assert {e.grant for e in once.endings} == {e.grant for e in state.endings} - over
    assert once.seconds_left(now, wall) > 0


# The reconciler


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the clock often."""
    monkeypatch.setattr(module, "_LOOK", 0.01)
    monkeypatch.setattr(module, "_LOOK_ENDS", 0.01)


def _pass(world: World, seconds: float) -> None:
    world.now = replace(world.now, seconds=world.now.seconds + seconds)
    world.wall += seconds


async def _until_ended(world: World) -> bool:
    for _ in range(300):
        if not world.reconciler.stored.state.grants:
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize("end", [After(60.0), At(1060.0)])
def test_the_kernel_follows_when_a_grant_ends(end: End) -> None:
    async def story(world: World) -> None:
        await world.reconciler.submit(add_guard(Guard(HOST)), 1000)
        await world.reconciler.submit(add_grant(GRANT, end), 1000)
        assert world.reconciler.ends() == {GRANT: Finish(1060.0)}
        _pass(world, 59)
        await asyncio.sleep(0.1)
        assert world.reconciler.stored.state.grants == {GRANT}
        _pass(world, 1)
        assert await _until_ended(world)

    world = run(story)
    world.consistent()
    (ended,) = world.store.stored.state.ended
    assert (ended.grant, ended.at) == (GRANT, 1060.0)
    assert ended.id


def test_the_kernel_follows_when_a_session_ends() -> None:
    """Another one that has its id later is not it."""
    session, other = Session("3", 1), Session("3", 2)

    async def story(world: World) -> None:
        world.now = replace(world.now, sessions=frozenset({session, Session("4", 1)}))
        assert world.reconciler.session("3") == session
        assert world.reconciler.session("5") is None
        await world.reconciler.submit(add_guard(Guard(HOST)), 1000)
        await world.reconciler.submit(add_grant(GRANT, WithSession(session)), 1000)
        assert world.reconciler.ends() == {GRANT: Finish(math.inf, "3")}
        await asyncio.sleep(0.6)
        assert world.reconciler.stored.state.grants == {GRANT}
        world.now = replace(world.now, sessions=frozenset({other, Session("4", 1)}))
        assert await _until_ended(world)

    run(story).consistent()


def test_a_session_that_ended_while_nobody_ran_is_over_at_the_start() -> None:
    session = Session("3", 1)

    async def story(world: World) -> None:
        world.now = replace(world.now, sessions=frozenset({session}))
        await world.reconciler.submit(add_grant(GRANT, WithSession(session)), 1000)
        for now, left in ((world.now, {GRANT}), (Moment("boot-1", 200.0), set())):
            world.now = now
            again = world.restarted()
            await again.restore()
            world.reconciler = again
            assert world.store.stored.state.grants == left

    run(story)


def test_a_stream_of_changes_does_not_hold_an_end_up() -> None:
    async def story(world: World) -> None:
        await world.reconciler.submit(add_grant(GRANT, After(60.0)), 1000)
        _pass(world, 60)
        other = Grant("b_t", place("10.0.0.6"))
        stored = await world.reconciler.submit(add_grant(other), 1000)
        stored = await world.reconciler.submit(remove_grant(other), 1000)
        assert not stored.state.grants

    run(story)


def test_an_end_that_came_while_nobody_ran_is_enforced_at_the_start() -> None:
    async def story(world: World) -> None:
        await world.reconciler.submit(add_grant(GRANT, After(60.0)), 1000)

    async def starts(world: World) -> None:
        for now, left in ((Moment("boot-1", 130.0), {GRANT}), (Moment("boot-2", 1.0), set())):
            world.now, world.wall = now, world.wall + 30
            again = world.restarted()
            await again.restore()
            world.reconciler = again
            assert world.store.stored.state.grants == left
            world.consistent()

    asyncio.run(starts(run(story)))  # the daemon before, which would end it too, is gone


def test_an_end_that_fails_is_tried_again_and_said_to_be_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_AGAIN", 5.0)

    async def story(world: World) -> None:
        await world.reconciler.submit(add_grant(GRANT, After(60.0)), 1000)
        world.fail_at("save", TableFailed("It failed."), times=1)
        _pass(world, 60)
        for _ in range(300):
            if world.problems():
                break
            await asyncio.sleep(0.01)
        assert world.problems()
        assert world.reconciler.stored.state.grants == {GRANT}
        _pass(world, 5)
        assert await _until_ended(world)
        assert not world.problems()

    run(story).consistent()
