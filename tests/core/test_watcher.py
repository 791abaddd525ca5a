"""What others do to the kernel is noticed and put right, at the price of one reading a burst."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from appfwd.core.rivals import Rival
from appfwd.errors import TableFailed
from appfwd.model.changes import add_guard
from appfwd.model.state import Guard
from appfwd.watcher import Watcher
from tests.core.stories import state_of
from tests.core.test_rivals import SET, ruleset
from tests.core.world import HOST, World, run


@asynccontextmanager
async def watching(world: World, told: list[str]) -> AsyncIterator[Watcher]:
    """Run a watcher over a world; ``told`` grows with every look."""
    watcher = Watcher(
        world.reconciler, world.kernel, told=lambda: told.append("told"), gather=0.005
    )
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        task.cancel()


async def looked(told: list[str], times: int = 1) -> None:
    """Wait until the watcher has looked so often."""
    async with asyncio.timeout(10):
        while len(told) < times:  # noqa: ASYNC110 - the watcher's look is what is waited for
            await asyncio.sleep(0.001)


def test_what_another_took_away_is_put_back() -> None:
    async def story(world: World) -> None:
        await world.reconciler.submit(add_guard(Guard(HOST)), 1)
        told: list[str] = []
        async with watching(world, told) as watcher:
            await looked(told)
            world.machine.model.module = ""
            world.machine.model.loaded()
            world.machine.loads += 1
            assert not world.in_force(state_of("10.0.0.5"))
            watcher.policy_changed()
            await looked(told, 2)
            assert world.in_force(state_of("10.0.0.5"))

    run(story)


def test_our_own_loads_and_a_burst_cost_nothing() -> None:
    async def story(world: World) -> None:
        await world.reconciler.submit(add_guard(Guard(HOST)), 1)
        told: list[str] = []
        async with watching(world, told) as watcher:
            await looked(told)
            calls = len(world.faults.calls)
            for _ in range(100):
                watcher.policy_changed()
            await looked(told, 2)
            await asyncio.sleep(0.05)
            assert len(told) == 2
            assert len(world.faults.calls) == calls

    run(story)


def test_a_failure_is_the_problem_until_it_is_mended() -> None:
    async def story(world: World) -> None:
        await world.reconciler.submit(add_guard(Guard(HOST)), 1)
        told: list[str] = []

        def refuse(_operation: str) -> None:
            raise TableFailed("refused")

        async with watching(world, told) as watcher:
            await looked(told)
            world.machine.loads += 1
            world.fail = refuse
            watcher.policy_changed()
            await looked(told, 2)
            assert str(world.reconciler.problem) == "refused"
            world.fail = lambda _operation: None
            calls = len(world.faults.calls)
            watcher.policy_changed()  # by what was tried: it is not tried again
            await looked(told, 3)
            assert len(world.faults.calls) == calls
            world.machine.loads += 1
            watcher.policy_changed()
            await looked(told, 4)
            assert world.reconciler.problem is None

    run(story)


def test_a_rival_is_found_and_forgotten() -> None:
    async def story(world: World) -> None:
        told: list[str] = []
        async with watching(world, told) as watcher:
            await looked(told)
            world.machine.others = ruleset(SET)  # type: ignore[assignment]
            watcher.tables_changed()
            await looked(told, 2)
            assert world.kernel.rivals == (Rival("ip", "other", "c"),)
            world.machine.others = []
            watcher.tables_changed()
            await looked(told, 3)
            assert not world.kernel.rivals

    run(story)
