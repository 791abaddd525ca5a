"""The ruleset of the next boot: gone before anything changes, and never looser than asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from appfwd import booting
from appfwd.booting import NextBoot
from appfwd.core.boot import boot_commands, state_at_boot
from appfwd.core.compiler import compile_state
from appfwd.core.elements import Points
from appfwd.core.listing import is_orphan
from appfwd.core.nft import table_commands
from appfwd.core.table import Table
from appfwd.errors import PolicyLoadFailed, StoreFailed, TableFailed
from appfwd.model.changes import add_grant, add_guard, remove_grant
from appfwd.model.ends import WithBoot
from appfwd.model.fence import Fence
from appfwd.model.slots import slot_name, switch_name
from appfwd.model.state import (
    DesiredState,
    Ending,
    Grant,
    Guard,
    GuardWasNot,
    Settings,
    Trial,
)
from tests.core.nftmodel import NftModel
from tests.core.stories import place
from tests.core.world import HOST, World

GUARD, GRANT = Guard(HOST), Grant("a_t", HOST)
OTHER = Grant("b_t", place("10.0.0.6"))
WRITES = {"table", "install", "remove", "save"}


def ruleset_of(world: World, state: DesiredState) -> list[object]:
    """Return what a boot into ``state`` shall load."""
    table = compile_state(state, world.machine.model.machine()).table
    return list(boot_commands(table))


async def rest(boot: NextBoot) -> None:
    """Let what waits be written."""
    await boot.finish()


def run(story: Callable[[World, NextBoot], Awaitable[None]]) -> World:
    """Run ``story``; whatever is written to kernel or store finds no ruleset for the next boot."""
    world = World()
    boot = NextBoot(world.kernel, world.machine.boot, rest=3600)

    def before(operation: str) -> None:
        if operation.split(maxsplit=1)[0] in WRITES:
            assert world.machine.boot.ruleset is None, operation
        world.fail(operation)

    world.faults.before = before
    reconciler = world.reconciler
    reconciler.before_change, reconciler.on_settled = boot.changing, boot.settled

    async def main() -> None:
        await reconciler.restore()
        writer = asyncio.create_task(reconciler.run())
        try:
            await story(world, boot)
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer

    asyncio.run(main())
    return world


def grants_with_ends(state: DesiredState) -> DesiredState:
    """Add a grant that ends with the boot."""
    return replace(
        state, grants=state.grants | {OTHER}, endings=frozenset({Ending(OTHER, WithBoot("boot-1"))})
    )


def test_it_is_written_of_what_is_in_force_and_gone_before_the_next_change() -> None:
    async def story(world: World, boot: NextBoot) -> None:
        submit = world.reconciler.submit
        await submit(add_guard(GUARD), 0)
        await rest(boot)
        assert world.machine.boot.ruleset == ruleset_of(world, world.store.stored.state)
        await submit(add_grant(GRANT), 0)
        await rest(boot)
        state = DesiredState(frozenset({GUARD}), frozenset({GRANT}))
        assert world.machine.boot.ruleset == ruleset_of(world, state)
        await submit(remove_grant(GRANT), 0)
        assert world.machine.boot.ruleset is None

    run(story)


def test_nothing_is_written_where_nothing_changed() -> None:
    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        await rest(boot)
        world.faults.calls.clear()
        await world.reconciler.refresh()
        await rest(boot)
        world.reconciler = world.restarted()
        fresh = NextBoot(world.kernel, world.machine.boot)
        world.reconciler.on_settled = fresh.settled
        await world.reconciler.restore()
        await rest(fresh)
        assert world.machine.boot.written == 1
        assert not {"unboot", "boot"} & {*world.faults.calls}

    run(story)


def test_a_table_that_a_boot_loaded_is_adopted_and_its_file_stays() -> None:
    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        await rest(boot)
        ruleset = world.machine.boot.ruleset
        world.machine.model.nft.orphan()
        world.faults.before = lambda _operation: None
        world.reconciler = world.restarted()
        fresh = NextBoot(world.kernel, world.machine.boot)
        world.reconciler.on_settled = fresh.settled
        await world.reconciler.restore()
        assert not is_orphan(world.machine.model.nft.listing())
        assert world.machine.boot.ruleset is ruleset
        await rest(fresh)
        assert world.machine.boot.written == 1

    run(story)


def test_no_epoch_of_this_boot_is_in_it() -> None:
    state = DesiredState(frozenset({GUARD}), frozenset({GRANT}))
    table = compile_state(state, World().machine.model.machine()).table
    assert table.keeps
    assert boot_commands(replace(table, keeping=7)) == boot_commands(table)


def test_grants_that_end_are_not_in_it() -> None:
    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        await world.reconciler.submit(grants_with_ends, 0)
        assert OTHER in world.store.stored.state.grants
        await rest(boot)
        kept = DesiredState(frozenset({GUARD}))
        assert world.machine.boot.ruleset == ruleset_of(world, kept)

    run(story)


def test_an_end_for_a_grant_that_had_none_takes_it_out_of_it() -> None:
    """The kernel has nothing to do then, and yet the grant must not be there at the next boot."""

    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        await world.reconciler.submit(add_grant(OTHER), 0)
        await rest(boot)
        await world.reconciler.submit(grants_with_ends, 0)
        assert world.machine.boot.ruleset is None
        await rest(boot)
        assert world.machine.boot.ruleset == ruleset_of(world, DesiredState(frozenset({GUARD})))

    run(story)


def test_there_is_none_while_something_is_on_trial() -> None:
    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        await rest(boot)
        guard = Guard(place("10.0.0.9"))
        trial = Trial(GuardWasNot(guard), 60.0)
        await world.reconciler.submit(
            lambda s: replace(s, guards=s.guards | {guard}, trials=frozenset({trial})), 0
        )
        await rest(boot)
        assert world.machine.boot.ruleset is None
        await world.reconciler.submit(lambda s: replace(s, trials=frozenset()), 0)
        await rest(boot)
        assert world.machine.boot.ruleset == ruleset_of(world, world.store.stored.state)

    run(story)


@pytest.mark.parametrize("settings", [Settings(active=False), Settings()])
def test_there_is_none_where_nothing_is_to_be_in_force(settings: Settings) -> None:
    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        await rest(boot)
        await world.reconciler.submit(lambda _: DesiredState(settings=settings), 0)
        await rest(boot)
        assert world.machine.boot.ruleset is None

    run(story)


FAILURES = [("table", TableFailed), ("install", PolicyLoadFailed), ("save", StoreFailed)]


@pytest.mark.parametrize(("name", "error"), FAILURES)
def test_after_a_change_that_failed_it_is_of_the_old_state(
    name: str, error: type[Exception]
) -> None:
    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        await rest(boot)
        old = world.machine.boot.ruleset
        world.fail_at(name, error("no"))
        three = frozenset(Grant(d, HOST) for d in ("a_t", "b_t", "c_t"))

        def change(state: DesiredState) -> DesiredState:
            if name == "install":
                return replace(state, grants=three)
            return add_grant(GRANT)(add_guard(Guard(place("10.0.0.8")))(state))

        (found,) = await world.outcomes(change)
        assert isinstance(found, error)
        assert world.machine.boot.ruleset is None
        await rest(boot)
        assert world.machine.boot.ruleset == old

    run(story)


def test_the_booleans_of_slots_that_the_table_names_are_written_with_it() -> None:
    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        await world.reconciler.submit(lambda s: add_grant(OTHER)(add_grant(GRANT)(s)), 0)
        await rest(boot)
        assert world.machine.boot.booleans == {}
        await world.reconciler.submit(add_grant(Grant("b_t", HOST)), 0)
        await rest(boot)
        names = {switch_name(slot_name(0), domain) for domain in ("a_t", "b_t")}
        assert world.machine.boot.booleans == dict.fromkeys(names, True), (
            world.machine.model.booleans
        )
        # The slot is still on, and the table does not name it.
        await world.reconciler.submit(remove_grant(Grant("b_t", HOST)), 0)
        await rest(boot)
        assert world.machine.boot.booleans == {}
        assert world.machine.model.booleans.keys() >= names

    run(story)


def test_more_booleans_than_there_is_room_for_are_left_to_the_daemon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(booting, "_BOOLEANS_AT_MOST", 1)

    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        await world.reconciler.submit(lambda s: add_grant(OTHER)(add_grant(GRANT)(s)), 0)
        await rest(boot)
        assert world.machine.boot.ruleset is not None
        await world.reconciler.submit(add_grant(Grant("b_t", HOST)), 0)
        await rest(boot)
        assert world.machine.boot.ruleset is None

    run(story)


def test_that_flows_keep_their_labels_is_no_change() -> None:
    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        await rest(boot)
        ruleset = world.machine.boot.ruleset
        world.faults.before = lambda _operation: None
        assert await world.kernel.keep(7)
        assert world.machine.boot.ruleset is ruleset

    run(story)


def test_a_change_is_refused_where_it_cannot_be_removed() -> None:
    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        await rest(boot)
        world.fail_at("unboot", StoreFailed("read-only"))
        (found,) = await world.outcomes(add_grant(GRANT))
        assert isinstance(found, StoreFailed)
        world.consistent()
        assert world.machine.boot.ruleset == ruleset_of(world, world.store.stored.state)

    run(story)


def test_what_others_changed_is_made_right_with_it_gone_and_written_anew() -> None:
    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        await rest(boot)
        world.machine.model.nft = NftModel()
        world.kernel._settled = None
        await world.reconciler.refresh()
        assert world.machine.boot.ruleset is None
        await rest(boot)
        assert world.machine.boot.ruleset == ruleset_of(world, world.store.stored.state)

    run(story)


def test_a_change_that_begins_while_it_is_being_written_voids_it() -> None:
    async def story(world: World, boot: NextBoot) -> None:
        await world.reconciler.submit(add_guard(GUARD), 0)
        change: list[asyncio.Task[object]] = []

        def fail(operation: str) -> None:
            if operation == "boot" and not change:
                change.append(asyncio.create_task(world.reconciler.submit(add_grant(GRANT), 0)))
                asyncio.get_running_loop().call_soon(lambda: None)

        world.fail = fail
        finishing = asyncio.create_task(rest(boot))
        await finishing
        await change[0]
        await rest(boot)
        assert world.machine.boot.ruleset == ruleset_of(world, world.store.stored.state)

    run(story)


def test_it_is_written_once_for_a_row_of_changes() -> None:
    async def story(world: World, _boot: NextBoot) -> None:
        boot = NextBoot(world.kernel, world.machine.boot, rest=0.2)
        world.reconciler.before_change, world.reconciler.on_settled = boot.changing, boot.settled
        writing = asyncio.create_task(boot.run())
        for number in range(5):
            await world.reconciler.submit(add_guard(Guard(place(f"10.0.1.{number}"))), 0)
            await asyncio.sleep(0.01)
        assert world.machine.boot.written == 0
        await asyncio.sleep(0.5)
        assert world.machine.boot.written == 1
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    run(story)


def test_its_transaction_makes_the_table_and_only_where_there_is_none() -> None:
    world = World()
    many = frozenset(Guard(place(f"10.1.{n // 250}.{n % 250}:80/tcp")) for n in range(2500))
    state = DesiredState(many | {GUARD}, frozenset({GRANT}), fences=frozenset({Fence("c_t")}))
    table = compile_state(state, world.machine.model.machine()).table
    first, *rest = boot_commands(table)
    whole = table_commands(Table(), table)
    assert [*first] == ["create"]
    assert first["create"] == whole[0]["add"]
    sizes = [len(c["add"]["element"]["elem"]) for c in rest if "element" in c["add"]]
    assert sum(sizes) == sum(
        len(c["add"]["element"]["elem"]) for c in whole[1:] if "element" in c["add"]
    )
    assert max(sizes) == 1000
    # Read back, a table has its chains and elements in another order.
    other = replace(
        table,
        chains=dict(reversed([*table.chains.items()])),
        contexts=dict(reversed([*table.contexts.items()])),
        points={k: Points(dict(reversed([*v.items()]))) for k, v in table.points.items()},
    )
    assert boot_commands(other) == [first, *rest]


def test_what_is_left_of_a_state_allows_no_more() -> None:
    state = DesiredState(frozenset({GUARD}), frozenset({GRANT}))
    ending = grants_with_ends(state)
    assert state_at_boot(state) is state
    assert state_at_boot(ending) == state
    assert state_at_boot(replace(state, settings=Settings(active=False))) is None
