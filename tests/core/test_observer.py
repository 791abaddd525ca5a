"""Records become observations: each is counted, however many come, and nothing stops it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from appfwd.adapters.notes.observations import ObservationStore
from appfwd.errors import StoreFailed
from appfwd.listening.gatherer import TOLD_AT_MOST, WAITING_AT_MOST, WAITING_OF_ONE
from appfwd.listening.hearing import Hearing
from appfwd.listening.observer import Observer
from appfwd.model.destination import Direction, parse_destination
from appfwd.model.observation import Observation, Seen

NOW = 2000.0
PATIENCE = 120.0


def text(
    number: int,
    *,
    at: float = 1000.0,
    permission: str = "send",
    label: str = "tcp",
    domain: str = "mozilla_t",
) -> str:
    """Return a record of a domain and one of 2^24 hosts."""
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return (
        f'audit({at:.3f}:{number}): avc:  granted  {{ {permission} }} for  pid=1 comm="curl" '
        f"saddr=192.0.2.1 src=40000 daddr={address} dest=443 netif=eth0 "
        f"scontext=u:r:{domain}:s0 tcontext=u:object_r:appfwd_seen_{label}_t:s0 tclass=packet"
    )


def crowd(first: int, count: int) -> list[str]:
    """Return records of several domains."""
    return [text(number, domain=f"d{number % 5}_t") for number in range(first, first + count)]


def hear(observer: Observer, texts: Sequence[str]) -> None:
    """Have the observer hear records."""
    Hearing(observer.take).heard(texts)


def observed(destination: str, direction: Direction = Direction.OUT) -> Observation:
    return Observation("mozilla_t", parse_destination(destination, direction))


HOST = observed("10.0.0.5:443/tcp")


class Memory:
    """A store in memory, which fails where it is told to, and may be slow."""

    def __init__(self) -> None:
        self.kept: dict[Observation, Seen] = {}
        self.batches: list[int] = []
        self.error: Exception | None = None
        self.tries = 0
        self.open = asyncio.Event()
        self.open.set()

    async def _enter(self) -> None:
        self.tries += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error

    async def add(self, batch: Sequence[Seen]) -> Sequence[Observation]:
        await self._enter()
        new = [one.observation for one in batch if one.observation not in self.kept]
        self.batches.append(len(batch))
        for one in batch:
            old = self.kept.get(one.observation, Seen(one.observation, 0, one.first, one.last))
            self.kept[one.observation] = Seen(
                one.observation,
                old.count + one.count,
                min(old.first, one.first),
                max(old.last, one.last),
            )
        return new

    async def load(self) -> Sequence[Seen]:
        await self._enter()
        return list(self.kept.values())

    async def forget(self, observations: Collection[Observation] | None = None) -> int:
        await self._enter()
        gone = [one for one in list(self.kept) if observations is None or one in observations]
        for one in gone:
            del self.kept[one]
        return len(gone)


@asynccontextmanager
async def running(store: Any, flush_after: float = 0.01) -> AsyncIterator[Observer]:
    """Run an observer whose clock stands still."""
    observer = Observer(store, lambda: NOW, flush_after)
    task = asyncio.create_task(observer.run())
    try:
        yield observer
        assert not task.done()
    finally:
        task.cancel()


async def until(ready: Any) -> None:
    """Wait for what the observer's task does on this event loop."""
    async with asyncio.timeout(PATIENCE):
        while not ready():  # noqa: ASYNC110 - the task is what is waited for
            await asyncio.sleep(0.001)


def test_records_become_observations_in_the_store(tmp_path: Path) -> None:
    async def story() -> Sequence[Seen]:
        store = ObservationStore(tmp_path / "observed.db")
        async with running(store) as observer:
            told: list[Observation] = []
            observer.on_new = told.extend
            hear(observer, [text(5, at=1001), text(6), text(5, at=1003.5), text(5, at=1002)])
            await until(lambda: told)
            hear(observer, [text(5, permission="recv"), text(5, at=1004)])
            seen = await observer.seen()
            assert told == [HOST, observed("10.0.0.6:443/tcp"), seen[0].observation]
        await store.close()
        return seen

    assert asyncio.run(story()) == [
        Seen(observed("192.0.2.1:443/tcp", Direction.IN), 1, 1000.0, 1000.0),
        Seen(HOST, 4, 1001.0, 1004.0),
        Seen(observed("10.0.0.6:443/tcp"), 1, 1000.0, 1000.0),
    ]


def test_what_is_no_observation_leaves_no_trace() -> None:
    async def story() -> None:
        store = Memory()
        async with running(store) as observer:
            hear(observer, ["", "avc:", text(5)[:-1], text(5).replace("granted", "denied")])
            hear(observer, [])
            await asyncio.sleep(0.05)
            assert await observer.seen() == []
            assert not store.batches
            assert not observer.dropped

    asyncio.run(story())


def test_a_time_to_come_is_now() -> None:
    """Or what was seen before the clock was set back would be kept longest."""

    async def story() -> None:
        observer = Observer(Memory(), lambda: NOW)
        hear(observer, [text(5, at=NOW + 10_000), text(5, at=NOW - 1)])
        assert await observer.seen() == [Seen(HOST, 2, NOW - 1, NOW)]

    asyncio.run(story())


def test_a_storm_of_one_flow_is_one_observation() -> None:
    async def story() -> None:
        store = Memory()
        async with running(store, 0.05) as observer:
            storm = [text(5)] * 250
            for _ in range(400):
                hear(observer, storm)
                await asyncio.sleep(0)
            assert await observer.seen() == [Seen(HOST, 100_000, 1000.0, 1000.0)]
            assert not observer.dropped
            assert sum(store.batches) == len(store.batches)

    asyncio.run(story())


def test_a_storm_of_many_flows_costs_bounded_memory_and_few_batches() -> None:
    async def story() -> None:
        store = Memory()
        async with running(store, 60) as observer:
            for first in range(0, 100_000, 250):
                hear(observer, crowd(first, 250))
                await asyncio.sleep(0)
            assert len(observer._waiting) == WAITING_AT_MOST
            assert observer.dropped == 100_000 - WAITING_AT_MOST
            assert len(await observer.seen()) == WAITING_AT_MOST
            assert store.batches == [WAITING_AT_MOST]
            hear(observer, [text(99_999)])
            assert len(await observer.seen()) == WAITING_AT_MOST + 1

    asyncio.run(story())


def test_a_storm_of_one_domain_leaves_room_for_the_others() -> None:
    async def story() -> None:
        async with running(Memory(), 60) as observer:
            for first in range(0, 2 * WAITING_AT_MOST, 1_000):
                hear(observer, [text(number) for number in range(first, first + 1_000)])
            assert len(observer._waiting) == WAITING_OF_ONE
            hear(observer, [text(5, domain="quiet_t")])
            seen = await observer.seen()
            assert len(seen) == WAITING_OF_ONE + 1
            assert seen[-1].observation.domain == "quiet_t"
            hear(observer, [text(99_999)])
            assert len(await observer.seen()) == WAITING_OF_ONE + 2

    asyncio.run(story())


def test_a_storm_beside_a_real_store_is_written_in_few_batches(tmp_path: Path) -> None:
    async def story() -> None:
        store = ObservationStore(tmp_path / "observed.db")
        batches = []
        add = store.add

        async def counted(batch: Sequence[Seen]) -> Sequence[Observation]:
            batches.append(len(batch))
            return await add(batch)

        store.add = counted  # type: ignore[method-assign]
        async with running(store, 0.2) as observer:
            start = asyncio.get_running_loop().time()
            for first in range(0, 100_000, 250):
                hear(observer, crowd(first, 250))
                await asyncio.sleep(0)
            took = asyncio.get_running_loop().time() - start
            seen = await observer.seen()
            assert len(batches) <= took / 0.2 + 2
            assert max(batches) <= WAITING_AT_MOST
            assert observer.dropped == 100_000 - sum(batches)
            assert len(seen) == min(10_000, sum(batches))
        await store.close()

    asyncio.run(story())


def test_records_are_gathered_for_a_while_before_they_are_stored() -> None:
    async def story() -> None:
        store = Memory()
        async with running(store, 0.1) as observer:
            for number in range(20):
                hear(observer, [text(number)])
                await asyncio.sleep(0.001)
            assert not store.batches
            await until(lambda: store.batches)
            assert store.batches == [20]
            await asyncio.sleep(0.15)
            assert store.batches == [20]  # with nothing to store, nothing is written

    asyncio.run(story())


def test_what_is_heard_while_the_store_is_slow_is_not_lost() -> None:
    async def story() -> None:
        store = Memory()
        async with running(store) as observer:
            store.open.clear()
            hear(observer, [text(5)])
            await until(lambda: store.tries)
            hear(observer, [text(5), text(6)])
            store.open.set()
            await until(lambda: len(store.batches) == 2)
            assert [one.count for one in store.kept.values()] == [2, 1]

    asyncio.run(story())


@pytest.mark.parametrize("error", [StoreFailed("the disk is full"), RuntimeError("a fault")])
def test_a_store_that_fails_is_logged_once_and_loses_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        store = Memory()
        async with running(store) as observer:
            for _episode in range(2):
                store.error = error
                tries = store.tries
                hear(observer, [text(5)])
                await until(lambda tries=tries: store.tries > tries + 2)
                hear(observer, [text(5)])
                store.error = None
                batches = len(store.batches)
                await until(lambda batches=batches: len(store.batches) > batches)
            assert store.kept == {HOST: Seen(HOST, 4, 1000.0, 1000.0)}

    with caplog.at_level(logging.INFO):
        asyncio.run(story())
    lines = [(record.levelname, record.message) for record in caplog.records]
    failure = ("ERROR", f"observations wait to be stored: {error}")
    assert lines == [failure, ("INFO", "observations are stored again")] * 2
    traced = {bool(record.exc_info) for record in caplog.records if record.levelname == "ERROR"}
    assert traced == {isinstance(error, RuntimeError)}


def test_a_store_that_fails_for_long_costs_bounded_memory() -> None:
    async def story() -> None:
        store = Memory()
        store.error = StoreFailed("the disk is full")
        async with running(store) as observer:
            for first in range(0, 20_000, 1_000):
                hear(observer, crowd(first, 1_000))
                await asyncio.sleep(0.005)
            await until(lambda: store.tries > 2)
            with pytest.raises(StoreFailed):
                await observer.seen()
            with pytest.raises(StoreFailed):
                await observer.forget()
            store.error = None
            hear(observer, crowd(0, WAITING_AT_MOST))
            await observer.seen()
            assert len(store.kept) <= WAITING_AT_MOST
            assert observer.dropped >= 20_000 - WAITING_AT_MOST

    asyncio.run(story())


def test_what_is_forgotten_is_gone_though_it_waited() -> None:
    async def story() -> None:
        observer = Observer(Memory(), lambda: NOW)
        hear(observer, [text(5), text(6), text(7)])
        assert await observer.forget([HOST, observed("10.9.9.9")]) == 1
        assert [one.observation for one in await observer.seen()] == [
            observed("10.0.0.6:443/tcp"),
            observed("10.0.0.7:443/tcp"),
        ]
        hear(observer, [text(8)])
        assert await observer.forget() == 3
        assert await observer.seen() == []

    asyncio.run(story())


def test_what_the_store_would_not_take_is_forgotten_too() -> None:
    class Stubborn(Memory):
        async def add(self, batch: Sequence[Seen]) -> Sequence[Observation]:
            if self.error is not None:
                raise self.error
            return await super().add(batch)

        async def _enter(self) -> None:
            self.tries += 1

    async def story() -> None:
        store = Stubborn()
        observer = Observer(store, lambda: NOW)
        for some in (None, [HOST]):
            store.error = StoreFailed("the disk is full")
            hear(observer, [text(5)])
            assert await observer.forget(some) == 0
            store.error = None
            assert await observer.seen() == []

    asyncio.run(story())


def test_new_ones_are_told_once_and_not_too_many() -> None:
    async def story() -> None:
        told: list[int] = []
        observer = Observer(Memory(), lambda: NOW)
        observer.on_new = lambda new: told.append(len(new))
        hear(observer, [text(number) for number in range(1_000)])
        assert len(await observer.seen()) == 1_000
        hear(observer, [text(number) for number in range(1_000)])
        await observer.seen()
        assert told == [TOLD_AT_MOST]

    asyncio.run(story())


def test_who_cannot_be_told_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_new: Sequence[Observation]) -> None:
        raise RuntimeError("nobody there")

    async def story() -> None:
        store = Memory()
        async with running(store) as observer:
            observer.on_new = refuse
            for number in range(2):
                hear(observer, [text(number)])
                await until(lambda number=number: len(store.kept) > number)

    asyncio.run(story())
    assert caplog.text.count("could not be announced") == 2
