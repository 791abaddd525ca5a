"""Whatever fails below the one writer, the old state is back; memory, store and kernel agree."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.errors import AppfwdError, StoreFailed, TableFailed
from appfwd.model.changes import Change, add_grant, add_guard, remove_grant, remove_guard
from appfwd.model.state import Grant, Guard
from appfwd.ports import Stored
from tests.core.samples import DOMAINS
from tests.core.stories import place
from tests.core.world import HOST, World, run


@pytest.mark.parametrize("operation", ["install", "table", "query", "list", "save"])
@pytest.mark.parametrize("callers", [1, 3])
def test_whatever_fails_the_old_state_is_back_and_every_caller_knows(
    operation: str, callers: int
) -> None:
    async def story(world: World) -> None:
        old = await world.reconciler.submit(add_grant(Grant("a_t", place("10.0.0.9"))), 1)
        error = StoreFailed("x") if operation == "save" else TableFailed("x")
        world.fail_at(operation, error, times=100)
        changes = [add_guard(Guard(place(f"10.0.0.{n}"))) for n in range(callers)]
        if operation == "query":  # asked again only after a policy load
            world.machine.loads += 1
        assert await world.outcomes(*changes) == [error] * callers
        assert world.reconciler.stored is old
        world.fail = lambda _operation: None
        outcomes = await world.outcomes(*changes)
        assert all(isinstance(outcome, Stored) for outcome in outcomes)
        assert world.reconciler.problem is None
        world.consistent()

    run(story)


@pytest.mark.parametrize("operation", ["install", "table", "save"])
def test_after_one_failure_the_kernel_is_rolled_back(operation: str) -> None:
    async def story(world: World) -> None:
        await world.reconciler.submit(add_guard(Guard(place("10.0.0.9"))), 1)
        world.fail_at(operation, StoreFailed("x"))
        (outcome,) = await world.outcomes(add_grant(Grant("a_t", place("10.0.0.9"))))
        assert isinstance(outcome, StoreFailed)
        world.consistent()
        assert world.reconciler.problem is None

    run(story)


def test_a_failed_roll_back_is_reported_and_mended_by_the_next_change() -> None:
    async def story(world: World) -> None:
        await world.reconciler.submit(add_guard(Guard(HOST)), 1)
        down = TableFailed("down")

        def fail(operation: str) -> None:
            if operation in ("table", "list"):
                raise down

        world.fail = fail
        (outcome,) = await world.outcomes(remove_guard(Guard(HOST)))
        assert outcome is down
        assert world.problems() == [down]
        world.fail = lambda _operation: None
        await world.reconciler.submit(add_guard(Guard(place("10.0.0.6"))), 1)
        assert not world.problems()
        world.consistent()

    run(story)


def test_an_unforeseen_error_is_not_shown_and_the_writer_lives_on() -> None:
    async def story(world: World) -> None:
        world.fail_at("table", RuntimeError("raw detail"))
        (outcome,) = await world.outcomes(add_guard(Guard(HOST)))
        assert type(outcome) is AppfwdError
        assert "raw detail" not in str(outcome)
        assert isinstance(outcome.__cause__, RuntimeError)
        world.consistent()
        await world.reconciler.submit(add_guard(Guard(HOST)), 1)
        world.consistent()

    run(story)


def test_an_unforeseen_error_of_the_store_rolls_back_too() -> None:
    async def story(world: World) -> None:
        world.fail_at("save", OSError("disk"))
        (outcome,) = await world.outcomes(add_guard(Guard(HOST)))
        assert isinstance(outcome, AppfwdError)
        world.consistent()

    run(story)


def test_callers_are_told_when_the_writer_ends() -> None:
    """At shutdown; the callers get an error instead of waiting for a reply that never comes."""
    world = World()
    outcomes: list[BaseException | None] = []

    async def main() -> None:
        writer = asyncio.create_task(world.reconciler.run())
        caller = asyncio.create_task(world.reconciler.submit(add_guard(Guard(HOST)), 1))

        def end(_operation: str) -> None:
            writer.cancel()

        world.fail = end
        with suppress(asyncio.CancelledError):
            await writer
        world.fail = lambda _operation: None
        for _ in range(10):
            await asyncio.sleep(0)
        outcomes.append(caller.exception() if caller.done() else None)
        caller.cancel()

    asyncio.run(main())
    assert isinstance(outcomes[0], AppfwdError)


_CHANGES = st.one_of(
    st.builds(add_guard, st.sampled_from([Guard(HOST), Guard(place("any:80/tcp"))])),
    st.builds(remove_guard, st.sampled_from([Guard(HOST), Guard(place("any:80/tcp"))])),
    st.builds(
        lambda domain, verb: verb(Grant(domain, HOST)),
        st.sampled_from(DOMAINS),
        st.sampled_from([add_grant, remove_grant]),
    ),
)


@given(
    st.lists(st.lists(_CHANGES, min_size=1, max_size=4), max_size=4),
    st.lists(st.booleans(), max_size=12),
)
def test_whatever_fails_when_all_agree_in_the_end(
    rounds: list[list[Change]], failures: list[bool]
) -> None:
    """Random changes by many callers with random failures; then one change that meets none."""

    async def story(world: World) -> None:
        left = list(failures)

        def fail(operation: str) -> None:
            writes: Any = operation.split(maxsplit=1)[0] in ("table", "save", "install")
            if writes and left and left.pop():
                raise TableFailed(operation[:7])

        world.fail = fail
        for changes in rounds:
            await world.outcomes(*changes)
            assert world.reconciler.stored == world.store.stored
        world.fail = lambda _operation: None
        await world.reconciler.submit(add_guard(Guard(place("10.0.0.77"))), 1)
        world.consistent()
        assert world.reconciler.problem is None

    run(story)
