"""The one writer: groups what waits, replies when in force, survives callers that give up."""

from __future__ import annotations

import asyncio

import pytest

from appfwd.errors import (
    Busy,
    NotFound,
    PolicyLoadFailed,
    TableFailed,
)
from appfwd.model.changes import Change, add_grant, add_guard, remove_grant, remove_guard
from appfwd.model.state import DesiredState, Grant, Guard
from appfwd.ports import Stored
from appfwd.reconciler import WAITING_AT_MOST
from tests.core.samples import DOMAINS
from tests.core.stories import place, state_of
from tests.core.world import HOST, World, hosts, run


def test_a_thousand_callers_share_a_few_batches() -> None:
    async def story(world: World) -> None:
        made = world.kernel.made
        found = await world.outcomes(*hosts(1000))
        assert all(isinstance(outcome, Stored) for outcome in found)
        assert world.kernel.made - made <= 3
        assert world.faults.calls.count("save") <= 3
        assert len(world.reconciler.stored.state.guards) == 1000
        world.consistent()

    run(story)


def test_a_reply_means_in_force_and_durable() -> None:
    async def story(world: World) -> None:
        stored = await world.reconciler.submit(add_guard(Guard(HOST)), 1000)
        assert stored.state == state_of("10.0.0.5")
        assert stored is world.store.stored
        assert world.in_force(stored.state)
        (record,) = stored.records.values()
        assert (record.uid, record.created) == (1000, 1000.0)

    run(story)


def test_each_member_belongs_to_who_added_it() -> None:
    async def story(world: World) -> None:
        grant = Grant("a_t", HOST)
        await asyncio.gather(
            world.reconciler.submit(add_guard(Guard(HOST)), 1),
            world.reconciler.submit(add_grant(grant), 2),
            world.reconciler.submit(add_grant(grant), 3),
        )
        await world.reconciler.submit(add_grant(grant), 4)
        records = world.reconciler.stored.records
        assert (records[Guard(HOST)].uid, records[grant].uid) == (1, 2)

    run(story)


def test_a_change_that_cannot_be_made_fails_alone() -> None:
    async def story(world: World) -> None:
        made = world.kernel.made
        first, bad, last = await world.outcomes(
            add_guard(Guard(HOST)),
            remove_grant(Grant("a_t", HOST)),
            add_guard(Guard(place("10.0.0.6"))),
        )
        assert isinstance(bad, NotFound)
        assert isinstance(first, Stored)
        assert isinstance(last, Stored)
        assert world.kernel.made == made + 1
        world.consistent()

    run(story)


def test_a_change_that_the_kernel_refuses_fails_alone() -> None:
    """The policy compiler refuses whatever names b_t; the others of its batch get through."""

    async def story(world: World) -> None:
        def refuse(operation: str) -> None:
            if "(allow b_t appfwd" in operation:
                raise PolicyLoadFailed(operation[:7])

        world.fail = refuse
        changes = [add_grant(Grant(domain, HOST)) for domain in DOMAINS]
        outcomes = await world.outcomes(add_guard(Guard(HOST)), *changes)
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [Stored, Stored, PolicyLoadFailed, Stored]
        assert world.reconciler.stored.state.domains() == {"a_t", "c_t"}
        world.consistent()

    run(story)


def test_a_caller_that_gave_up_before_its_turn_changes_nothing() -> None:
    async def story() -> None:
        world = World()
        tasks = [asyncio.create_task(world.reconciler.submit(c, 1)) for c in hosts(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        writer = asyncio.create_task(world.reconciler.run())
        await asyncio.gather(tasks[0], tasks[2])
        assert world.reconciler.stored.state == state_of("10.0.0.0", "10.0.0.2")
        world.consistent()
        writer.cancel()

    asyncio.run(story())


def test_a_caller_that_gives_up_meanwhile_harms_nobody() -> None:
    """Its change may be in force or not, but the others get their replies and all agree."""

    async def story(world: World) -> None:
        tasks = [asyncio.create_task(world.reconciler.submit(c, 1)) for c in hosts(3)]

        def give_up(operation: str) -> None:
            if operation == "table":
                tasks[1].cancel()

        world.fail = give_up
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], Stored)
        assert isinstance(results[1], asyncio.CancelledError)
        assert isinstance(results[2], Stored)
        world.consistent()

    run(story)


def test_too_many_waiting_are_refused() -> None:
    async def story() -> None:
        world = World()
        no_op: Change = lambda state: state  # noqa: E731
        tasks = [
            asyncio.create_task(world.reconciler.submit(no_op, 1)) for _ in range(WAITING_AT_MOST)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await world.reconciler.submit(no_op, 1)
        for task in tasks:
            task.cancel()

    asyncio.run(story())


def test_restoring_brings_the_kernel_to_what_is_stored() -> None:
    async def story() -> None:
        world = World()
        world.store.stored = Stored(state_of("10.0.0.5", grants=(("a_t", "10.0.0.5"),)))
        world.faults.before = world.fail
        await world.reconciler.restore()
        world.consistent()
        world.faults.calls.clear()
        await world.reconciler.restore()
        assert not {"table", "save"} & set(world.faults.calls)

    asyncio.run(story())


def test_a_kernel_that_cannot_be_restored_is_a_problem_and_no_end() -> None:
    async def story() -> None:
        world = World()
        world.store.stored = Stored(state_of("10.0.0.5"))
        error = TableFailed("x")

        def refuse(operation: str) -> None:
            if operation == "table":
                raise error

        world.faults.before = refuse
        await world.reconciler.restore()
        assert world.reconciler.problem is error
        assert world.reconciler.stored is world.store.stored

    asyncio.run(story())


def test_a_change_is_announced_once_with_both_states() -> None:
    seen: list[tuple[DesiredState, DesiredState]] = []

    async def story(world: World) -> None:
        async def changed(old: Stored, new: Stored) -> None:
            seen.append((old.state, new.state))

        world.reconciler.on_change = changed
        await world.outcomes(*hosts(5))
        await world.outcomes(remove_guard(Guard(HOST)))

    world = run(story)
    assert seen == [(DesiredState(), world.reconciler.stored.state)]
