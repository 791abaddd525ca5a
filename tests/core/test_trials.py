"""What is on trial goes back by itself: on time, after a kill, at a stop, and never by mistake."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd import reconciler as module
from appfwd.errors import NotFound, StoreFailed, TableFailed
from appfwd.model.changes import (
    Change,
    add_guard,
    confirm,
    end_trials_at,
    remove_guard,
    set_baseline,
    set_bridge,
)
from appfwd.model.ends import Moment
from appfwd.model.state import Bridge, DesiredState, Guard, Trial
from tests.core.stories import place
from tests.core.world import HOST, World, run

BOOT = "boot-1"
CLOSE = set_bridge(Bridge.CLOSED, strict=True, trial=60)
GUARD = Guard(HOST)


def _at(seconds: float, boot: str = BOOT) -> Moment:
    return Moment(boot, seconds)


def _steps(*changes: Change, at: float = 100.0) -> DesiredState:
    state = DesiredState()
    for change in changes:
        state = change(state).begun(_at(at), at)
    return state


def test_a_trial_is_over_at_its_time_and_in_every_other_boot() -> None:
    state = _steps(CLOSE)
    assert state.next_trial() == _at(160)
    for now, over in ((_at(159.9), False), (_at(160), True), (_at(1, "boot-2"), True)):
        after = end_trials_at(now)(state)
        assert (after == DesiredState()) is over, now


def test_what_holds_for_good_is_not_put_on_trial() -> None:
    state = _steps(add_guard(GUARD), add_guard(GUARD, 60), set_bridge(Bridge.OPEN, trial=60))
    assert not state.trials
    assert end_trials_at(_at(1000))(state).guards == {GUARD}


def test_a_later_decision_for_good_ends_the_trial() -> None:
    for change in (set_bridge(Bridge.OBSERVED), set_bridge(Bridge.CLOSED)):
        state = _steps(CLOSE, change)
        assert not state.trials
        assert end_trials_at(_at(1000))(state) == state
    state = _steps(add_guard(GUARD, 60), add_guard(GUARD))
    assert end_trials_at(_at(1000))(state).guards == {GUARD}


def test_a_second_trial_goes_back_to_what_was_before_the_first() -> None:
    state = _steps(set_bridge(Bridge.OBSERVED, trial=60), CLOSE)
    assert len(state.trials) == 1
    assert end_trials_at(_at(1000))(state).settings.bridge is Bridge.OPEN
    assert not _steps(CLOSE, set_bridge(Bridge.OPEN, trial=60)).trials


def test_a_guard_that_was_taken_away_leaves_no_trial() -> None:
    state = _steps(add_guard(GUARD, 60), remove_guard(GUARD), add_guard(GUARD))
    assert end_trials_at(_at(1000))(state).guards == {GUARD}


def test_there_must_be_something_to_confirm() -> None:
    with pytest.raises(NotFound, match="Nothing waits"):
        confirm()(DesiredState())


_CHANGES = st.one_of(
    st.builds(
        lambda bridge, strict, trial: set_bridge(bridge, strict=strict, trial=trial),
        st.sampled_from(Bridge),
        st.booleans(),
        st.sampled_from([None, 60.0]),
    ),
    st.builds(
        lambda on, trial: set_baseline(on=on, trial=trial),
        st.booleans(),
        st.sampled_from([None, 60.0]),
    ),
    st.builds(
        lambda text, trial: add_guard(Guard(place(text)), trial),
        st.sampled_from(["10.0.0.5", "10.0.0.6"]),
        st.sampled_from([None, 60.0]),
    ),
)


@given(st.lists(st.tuples(_CHANGES, st.floats(0, 50)), max_size=6))
def test_taking_all_back_leaves_what_was_decided_for_good(
    story: list[tuple[Change, float]],
) -> None:
    """And taking back twice is taking back once."""
    state = DesiredState()
    for change, at in story:
        state = change(state).begun(_at(at), at)
    ended = end_trials_at(_at(10_000))(state)
    assert not ended.trials
    assert end_trials_at(_at(20_000))(ended) == ended
    confirmed = confirm()(state) if state.trials else state
    assert end_trials_at(_at(10_000))(confirmed) == confirmed
    assert replace(confirmed, trials=state.trials) == state


def _within(world: World, seconds: float) -> None:
    world.now = replace(world.now, seconds=world.now.seconds + seconds)


def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.01)


async def _until_back(world: World) -> None:
    for _ in range(500):
        if not world.reconciler.stored.state.trials:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def test_it_goes_back_by_itself_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    _soon(monkeypatch)
    told: list[Trial] = []

    async def story(world: World) -> None:
        world.reconciler.on_reverted = told.extend
        await world.reconciler.submit(CLOSE, 0)
        assert world.reconciler.deadline() == 1060.0
        await asyncio.sleep(0.05)
        assert world.reconciler.stored.state.settings.strict
        _within(world, 61)
        await _until_back(world)
        assert world.reconciler.stored.state == DesiredState()
        assert world.reconciler.deadline() == 0.0
        world.consistent()

    run(story)
    assert len(told) == 1


def test_confirmed_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    _soon(monkeypatch)

    async def story(world: World) -> None:
        await world.reconciler.submit(add_guard(GUARD, 60), 0)
        await world.reconciler.submit(confirm(), 0)
        _within(world, 61)
        await asyncio.sleep(0.05)
        assert world.reconciler.stored.state == DesiredState(frozenset({GUARD}))
        world.consistent()

    run(story)


@pytest.mark.parametrize("later", [_at(161), _at(5, "boot-2")])
def test_a_daemon_that_was_killed_takes_it_back_before_it_serves(later: Moment) -> None:
    async def story(world: World) -> None:
        await world.reconciler.submit(CLOSE, 0)
        world.now = later
        again = world.restarted()
        await again.restore()
        world.reconciler = again
        assert world.reconciler.stored.state == DesiredState()
        world.consistent()

    run(story)


def test_a_daemon_that_was_killed_and_came_in_time_goes_on_with_it() -> None:
    async def story(world: World) -> None:
        await world.reconciler.submit(CLOSE, 0)
        _within(world, 30)
        again = world.restarted()
        await again.restore()
        world.reconciler = again
        assert world.reconciler.stored.state.next_trial() == _at(160)
        world.consistent()

    run(story)


def test_a_stop_takes_it_back() -> None:
    async def story(world: World) -> None:
        await world.reconciler.submit(CLOSE, 0)
        await world.reconciler.take_back_all()
        assert world.reconciler.stored.state == DesiredState()
        world.consistent()

    run(story)


@pytest.mark.parametrize(
    ("where", "error"), [("table", TableFailed("no")), ("save", StoreFailed("full"))]
)
def test_where_taking_back_fails_it_is_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    """Not at once and for ever: each try may cost a policy load."""
    _soon(monkeypatch)

    async def story(world: World) -> None:
        await world.reconciler.submit(add_guard(GUARD, 60), 0)
        world.fail_at(where, error, times=100)
        _within(world, 61)
        await asyncio.sleep(0.1)
        assert world.problems() == [error]
        world.fail = lambda _operation: None
        made = world.kernel.made
        await asyncio.sleep(0.1)
        assert world.kernel.made == made
        _within(world, 31)
        await _until_back(world)
        assert not world.problems()
        world.consistent()

    run(story)
