"""Blocks in a file: kept over restarts, none lost unsaid, a damaged file set aside."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from appfwd.adapters.notes import blocks
from appfwd.adapters.notes.blocks import BlockStore
from appfwd.adapters.notes.observations import ObservationStore
from appfwd.errors import Busy, NotFound
from appfwd.model.block import Block, Blocked
from appfwd.model.destination import Direction, parse_destination
from appfwd.model.observation import Observation, Seen

WEB = Block("mozilla_t", parse_destination("192.0.2.7:443/tcp"))
SSH = Block("sshd_t", parse_destination("any:22/tcp", Direction.IN))


def with_store(path: Path, story: Callable[[BlockStore], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = BlockStore(path)
        try:
            await story(store)
        finally:
            await store.close()

    asyncio.run(whole())


def test_what_is_kept_is_there_after_a_restart_as_it_was_first(tmp_path: Path) -> None:
    async def keep(store: BlockStore) -> None:
        await store.add(Blocked(SSH, 5.0, 1000))
        await store.add(Blocked(WEB, 6.0, 1001))
        await store.add(Blocked(WEB, 7.0, 0))

    async def look(store: BlockStore) -> None:
        assert await store.load() == [Blocked(WEB, 6.0, 1001), Blocked(SSH, 5.0, 1000)]

    with_store(tmp_path / "blocked.db", keep)
    with_store(tmp_path / "blocked.db", look)
    assert (tmp_path / "blocked.db").stat().st_mode & 0o777 == 0o600


def test_what_is_not_there_cannot_be_removed(tmp_path: Path) -> None:
    async def story(store: BlockStore) -> None:
        await store.add(Blocked(WEB, 6.0, 0))
        with pytest.raises(NotFound):
            await store.remove(Block(WEB.domain, SSH.destination))
        await store.remove(WEB)
        with pytest.raises(NotFound):
            await store.remove(WEB)
        assert await store.load() == []

    with_store(tmp_path / "blocked.db", story)


def test_too_many_are_refused_and_none_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "KEEP_AT_MOST", 1)

    async def story(store: BlockStore) -> None:
        await store.add(Blocked(WEB, 6.0, 0))
        with pytest.raises(Busy, match="unblock"):
            await store.add(Blocked(SSH, 6.0, 0))
        assert [one.block for one in await store.load()] == [WEB]

    with_store(tmp_path / "blocked.db", story)


@pytest.mark.parametrize("wrong", ["no destination", "192.0.2.7:443/tcp\n"])
def test_a_file_with_what_was_never_written_is_set_aside(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "blocked.db"

    async def keep(store: BlockStore) -> None:
        await store.add(Blocked(WEB, 6.0, 0))

    async def look(store: BlockStore) -> None:
        assert await store.load() == []

    with_store(path, keep)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE blocked SET destination = ?", (wrong,))
    connection.commit()
    connection.close()
    with_store(path, look)
    assert path.with_name("blocked.db.damaged").exists()


def test_denials_of_one_domain_leave_room_for_those_of_others(tmp_path: Path) -> None:
    def seen(domain: str, number: int) -> Seen:
        place = parse_destination(f"10.0.{number >> 8}.{number & 255}")
        return Seen(Observation(domain, place), 1, float(number), float(number))

    async def story() -> None:
        store = ObservationStore(tmp_path / "denied.db", "denials", of_one=20)
        await store.add([seen("quiet_t", 1)])
        await store.add([seen("loud_t", number) for number in range(500)])
        kept = await store.load()
        await store.close()
        loud = [one.first for one in kept if one.observation.domain == "loud_t"]
        assert sorted(loud) == [float(number) for number in range(480, 500)]
        assert len(kept) == 21

    asyncio.run(story())
