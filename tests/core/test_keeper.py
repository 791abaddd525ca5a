"""Epochs begin and end: in the transactions, at the kernel's side, and beside the one writer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given

from appfwd.core.keeping import INPUT, KEPT, OUTPUT
from appfwd.core.listing import decode_table
from appfwd.core.nft import delete_commands, keep_commands, table_commands, touched
from appfwd.core.plan import ApplyTable
from appfwd.core.table import Table
from appfwd.errors import TableFailed
from appfwd.keeping import Keeper
from appfwd.kernel import Kernel
from appfwd.model.changes import add_grant, add_guard, remove_grant
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import DesiredState, Grant, Guard
from tests.core.compiled import Compiled
from tests.core.evaluator import Evaluator
from tests.core.nftmodel import NftModel
from tests.core.packets import SIDS, Entry, opened, packet_of
from tests.core.samples import baseline_policy, make_policy, points_of, policies, states
from tests.core.stories import place, state_of
from tests.core.test_keeping import WAYS
from tests.core.test_plan import Change, changes, steps_to
from tests.core.world import World, run

NETWORK, HOST = place("10.0.0.0/24"), place("10.0.0.5:80/tcp")
GUARDED = state_of("10.0.0.0/24", grants=(("b_t", "10.0.0.6:80/tcp"), ("a_t", "10.0.0.7:80/tcp")))
GRANTED = replace(GUARDED, grants=GUARDED.grants | {Grant("a_t", HOST)})


def _table(state: DesiredState, policy: LoadedPolicy | None = None) -> Table:
    return Compiled(state, policy or make_policy()).table


def _read(model: NftModel) -> Table:
    return decode_table(model.listing())


# Transactions.


@given(states(), states(), policies())
def test_whatever_changes_the_table_ends_the_epoch(
    old: DesiredState, new: DesiredState, policy: LoadedPolicy
) -> None:
    before, after = _table(old, policy), _table(new, policy)
    model = NftModel()
    if not (before.keeps and after.contexts):
        return
    model.transaction(table_commands(Table(), before))
    assert _read(model).keeping == 0
    model.transaction(keep_commands(before, 77))
    kept = _read(model)
    assert (kept, kept.keeping) == (before, 77)
    commands = table_commands(kept, after)
    assert bool(commands) is (before != after)
    if commands:
        model.transaction(commands)
        assert (_read(model), _read(model).keeping) == (after, 0)
        for name, rules in after.kept_rules(0).items():
            assert [tuple(rule) for rule in model.rules[name]] == [*rules]
    else:
        assert _read(model).keeping == 77
    model.transaction(delete_commands())


@pytest.mark.parametrize("baseline", [False, True])
def test_the_first_change_after_a_rest_takes_the_words_rules_and_the_next_ones_none(
    baseline: bool,  # noqa: FBT001 - given by the parameter
) -> None:
    policy = baseline_policy() if baseline else make_policy()
    states = (
        replace(s, settings=replace(s.settings, baseline=baseline)) for s in (GRANTED, GUARDED)
    )
    before, after = (_table(state, policy) for state in states)
    before = replace(before, keeping=5)
    commands = table_commands(before, after)
    emptied = sorted({*KEPT} - (set() if baseline else {OUTPUT, INPUT}))
    assert [c["flush"]["chain"]["name"] for c in commands if "flush" in c] == emptied
    found = touched(commands)
    assert found is not None
    assert (found.shape, found.count) == (False, 1)
    again = table_commands(replace(before, keeping=0), after)
    assert not any("flush" in command for command in again)


def test_an_epoch_begins_anew_from_whatever_was_there() -> None:
    model = NftModel()
    model.transaction(table_commands(Table(), _table(GUARDED)))
    for number in (3, 4, 0, 5):
        model.transaction(keep_commands(_table(GUARDED), number))
        assert _read(model).keeping == number


@given(changes())
def test_no_step_of_a_change_leaves_a_label_that_was_kept_before_it(change: Change) -> None:
    """Also where the daemon is killed after each step, and the next one begins an epoch."""
    SIDS.begin(large=0)
    kernel = change.start()
    entries = [opened(to) for to in points_of(change.old)[:20]]
    for number in range(7, 20):
        table = kernel.snapshot().table
        keeps = table is not None and table.keeps
        if table is not None and keeps:
            kernel.nft.transaction(keep_commands(table, number))
            _send_all(kernel.nft, entries)
        step = next(iter(steps_to(change.new, kernel)), None)
        if step is None:
            return
        kernel.apply(step)
        if kernel.nft.exists:
            ended = isinstance(step, ApplyTable) or not keeps
            assert _read(kernel.nft).keeping == (0 if ended else number)
            _send_all(kernel.nft, entries)


def _send_all(model: NftModel, entries: list[Entry]) -> None:
    """Hold that packets of some flows have the label that a lookup finds now."""
    table = _read(model)
    keeping, plain = Evaluator(table), Evaluator(replace(table, keeping=0))
    for entry in entries:
        for way in WAYS:
            packet = packet_of(entry, way)
            fresh = replace(entry, labels=set(), secmark=0)
            assert keeping.send(packet) == plain.send(replace(packet, entry=fresh))
            assert keeping.send(packet) == plain.send(replace(packet, entry=fresh))


# Beside the one writer.


class Clock:
    """The time since the machine was booted, which goes as fast as the test likes."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@asynccontextmanager
async def keeping(world: World, clock: Clock, quiet: float = 0.01) -> AsyncIterator[Keeper]:
    """Run a keeper over a world."""
    keeper = Keeper(world.reconciler, world.kernel, clock, quiet)
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        task.cancel()


def number_of(world: World) -> int:
    return decode_table(world.machine.model.nft.listing()).keeping


async def until(world: World, number: int) -> None:
    """Wait until an epoch has begun, or ended."""
    async with asyncio.timeout(10):
        while number_of(world) != number:  # noqa: ASYNC110 - what the kernel has is waited for
            await asyncio.sleep(0.001)


def test_an_epoch_begins_after_a_change_and_the_next_change_ends_it() -> None:
    async def story(world: World) -> None:
        clock = Clock()
        async with keeping(world, clock):
            await world.reconciler.submit(add_guard(Guard(NETWORK)), 1)
            assert number_of(world) == 0
            clock.seconds = 105
            await until(world, 106)
            world.consistent()
            await world.reconciler.submit(add_grant(Grant("a_t", HOST)), 1)
            assert number_of(world) == 0
            world.consistent()
            clock.seconds = 110
            await until(world, 111)
            await world.reconciler.refresh()  # nothing to do, nothing ends
            assert number_of(world) == 111

    run(story)


def test_no_epoch_has_the_number_of_one_before_it() -> None:
    """Also not that of an epoch which an earlier daemon may have begun in this very second."""

    async def story(world: World) -> None:
        clock = Clock()
        await world.reconciler.submit(add_guard(Guard(NETWORK)), 1)
        async with keeping(world, clock):
            await asyncio.sleep(0.05)
            assert number_of(world) == 0
            clock.seconds = 101
            await until(world, 102)
            await world.reconciler.submit(add_grant(Grant("a_t", HOST)), 1)
            await asyncio.sleep(0.05)
            assert number_of(world) == 0
            clock.seconds = 102
            await until(world, 103)

    run(story)


def test_a_burst_of_changes_pays_once() -> None:
    async def story(world: World) -> None:
        clock = Clock()
        await world.reconciler.submit(add_guard(Guard(NETWORK)), 1)
        async with keeping(world, clock, quiet=0.2):
            clock.seconds = 101
            await until(world, 102)
            clock.seconds = 102
            world.faults.calls.clear()
            for _ in range(5):
                await world.reconciler.submit(add_grant(Grant("a_t", HOST)), 1)
                await world.reconciler.submit(remove_grant(Grant("a_t", HOST)), 1)
            assert world.faults.calls.count("table") == 10
            await until(world, 103)
            assert world.faults.calls.count("table") == 11

    run(story)


def test_a_table_that_an_earlier_daemon_left_is_kept_or_begins_anew() -> None:
    async def story(world: World) -> None:
        clock = Clock()
        await world.reconciler.submit(add_guard(Guard(NETWORK)), 1)
        async with keeping(world, clock):
            clock.seconds = 101
            await until(world, 102)
        nft, state = world.machine.model.nft, world.store.stored.state
        nft.orphan()
        await Kernel(world.machine.adapters()).make(state)
        assert number_of(world) == 102  # nobody could change it, so what was kept holds
        nft.transaction(keep_commands(_read(nft), 0))  # killed between two epochs
        world.kernel._settled = None
        await world.reconciler.refresh()
        async with keeping(world, clock):
            clock.seconds = 103
            await until(world, 104)

    run(story)


@pytest.mark.parametrize("place", ["table", "shape"])
def test_where_an_epoch_cannot_begin_the_table_goes_on_without(place: str) -> None:
    async def story(world: World) -> None:
        clock = Clock()
        await world.reconciler.submit(add_guard(Guard(NETWORK)), 1)
        async with keeping(world, clock):
            world.fail_at(place, TableFailed("no"))
            clock.seconds = 101
            await asyncio.sleep(0.1)
            await world.reconciler.submit(add_grant(Grant("a_t", HOST)), 1)
            assert number_of(world) == 0
            world.consistent()
            clock.seconds = 102
            await until(world, 103)

    run(story)


def test_what_reads_back_otherwise_is_ended_at_once() -> None:
    async def story(world: World) -> None:
        clock = Clock()
        await world.reconciler.submit(add_guard(Guard(NETWORK)), 1)
        table = world.machine.list_table

        async def twisted(*, terse: bool = False) -> object:
            found = await table(terse=terse)
            return [e for e in found if e.get("rule", {}).get("chain") != KEPT[0]]

        world.machine.list_table = twisted  # type: ignore[assignment,method-assign]
        async with keeping(world, clock):
            clock.seconds = 101
            await asyncio.sleep(0.1)
            assert number_of(world) == 0

    run(story)
