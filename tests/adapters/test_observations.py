"""Observations are kept, within bounds, and no damage to their file is a failure."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appfwd.adapters.notes import file as sidefile
from appfwd.adapters.notes.observations import KEEP_AT_MOST, ObservationStore
from appfwd.errors import StoreFailed
from appfwd.model.destination import Direction, parse_destination
from appfwd.model.observation import Observation, Seen
from tests.core.samples import DOMAINS, destinations

T = TypeVar("T")


def observed(destination: str, domain: str = "a_t", direction: Direction = Direction.OUT) -> Any:
    return Observation(domain, parse_destination(destination, direction))


def once(destination: str, when: float = 1.0, **more: Any) -> Seen:
    return Seen(observed(destination, **more), 1, when, when)


PROXY = once("10.0.0.5:3128/tcp")
OTHER = once("10.0.0.6:3128/tcp")


class Story:
    """A store, and what is done to it one after the other."""

    def __init__(self, path: Path) -> None:
        self._loop, self._store = asyncio.new_event_loop(), ObservationStore(path)

    def add(self, *batch: Seen) -> Sequence[Observation]:
        return self._loop.run_until_complete(self._store.add(batch))

    def load(self) -> Sequence[Seen]:
        return self._loop.run_until_complete(self._store.load())

    def forget(self, some: Collection[Observation] | None = None) -> int:
        return self._loop.run_until_complete(self._store.forget(some))

    def set_aside(self) -> None:
        self._store._file._set_aside(ValueError("as ordered"))

    def close(self) -> None:
        self._loop.run_until_complete(self._store.close())
        self._loop.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "appfwd" / "observed.db"


@pytest.fixture
def store(path: Path) -> Iterator[Story]:
    made = Story(path)
    yield made
    made.close()


def _again(path: Path, store: Story) -> list[Seen]:
    """Load what another process would."""
    made = Story(path)
    try:
        seen = list(made.load())
    finally:
        made.close()
    assert seen == list(store.load())
    return seen


def _raw(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_new_store_is_empty_and_for_root_alone(path: Path, store: Story) -> None:
    assert list(store.load()) == []
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.add(PROXY)
    assert [child.name for child in path.parent.iterdir()] == ["observed.db"]


def test_what_is_added_is_there_for_the_next_process(path: Path, store: Story) -> None:
    assert store.add(PROXY, OTHER) == [PROXY.observation, OTHER.observation]
    assert _again(path, store) == [PROXY, OTHER]


def test_the_same_again_adds_to_its_count_and_widens_its_time(path: Path, store: Story) -> None:
    store.add(Seen(PROXY.observation, 3, 10.0, 20.0))
    assert store.add(Seen(PROXY.observation, 4, 15.0, 30.0), OTHER) == [OTHER.observation]
    assert store.add(Seen(PROXY.observation, 1, 5.0, 25.0)) == []
    assert _again(path, store) == [Seen(PROXY.observation, 8, 5.0, 30.0), OTHER]


def test_the_same_twice_in_a_batch_is_one(store: Story) -> None:
    assert store.add(PROXY, PROXY) == [PROXY.observation]
    assert store.load() == [Seen(PROXY.observation, 2, 1.0, 1.0)]


def test_they_come_by_domain_and_then_by_destination(store: Story) -> None:
    ordered = [
        once("10.0.0.5:80/tcp", domain="a_t", direction=Direction.IN),
        once("9.0.0.5:443/tcp", domain="a_t"),
        once("10.0.0.5", domain="a_t"),
        once("10.0.0.5:80/tcp", domain="a_t"),
        once("[2001:db8::1]:80/tcp", domain="a_t"),
        once("1.0.0.5:80/tcp", domain="b_t"),
    ]
    store.add(*reversed(ordered))
    assert store.load() == ordered


def _places(first: int, count: int, when: float) -> list[Seen]:
    texts = (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:80/tcp" for n in range(first, first + count))
    return [once(text, when + number) for number, text in enumerate(texts)]


def test_there_are_never_more_than_so_many_and_the_oldest_go(store: Story) -> None:
    store.add(*_places(0, KEEP_AT_MOST, 1000.0))
    store.add(Seen(_places(0, 1, 0.0)[0].observation, 1, 50_000.0, 50_000.0))
    for batch in range(5):
        store.add(*_places(KEEP_AT_MOST + 100 * batch, 100, 100_000.0 + 100 * batch))
        kept = store.load()
        assert len(kept) == KEEP_AT_MOST
    gone = {one.observation for one in _places(1, 500, 0.0)}
    assert not gone & {one.observation for one in kept}
    assert _places(0, 1, 0.0)[0].observation in {one.observation for one in kept}


def test_a_batch_of_more_than_are_kept_leaves_the_newest(store: Story) -> None:
    batch = _places(0, KEEP_AT_MOST + 50, 1.0)
    store.add(*batch)
    assert store.load() == batch[50:]


def test_some_are_forgotten_or_all(path: Path, store: Story) -> None:
    store.add(PROXY, OTHER, once("10.0.0.7"))
    assert store.forget([OTHER.observation, observed("10.9.9.9"), OTHER.observation]) == 1
    assert store.forget([]) == 0
    assert _again(path, store) == [PROXY, once("10.0.0.7")]
    assert store.forget() == 2
    assert _again(path, store) == []
    assert store.forget() == 0
    assert store.add(PROXY) == [PROXY.observation]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)  # type: ignore[untyped-decorator,unused-ignore]
@given(
    batches=st.lists(
        st.lists(
            st.builds(
                Seen,
                st.builds(Observation, st.sampled_from(DOMAINS), destinations()),
                st.integers(1, 1000),
                st.floats(0, 1e9),
                st.floats(1e9, 2e9),
            ),
            max_size=8,
        ),
        max_size=4,
    )
)
def test_any_observation_comes_back_as_it_was(batches: list[list[Seen]]) -> None:
    expected: dict[Observation, Seen] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        store = Story(Path(folder) / "observed.db")
        for batch in batches:
            new = store.add(*batch)
            assert set(new) == {one.observation for one in batch} - set(expected)
            for one in batch:
                old = expected.get(one.observation, Seen(one.observation, 0, one.first, one.last))
                expected[one.observation] = Seen(
                    one.observation,
                    old.count + one.count,
                    min(old.first, one.first),
                    max(old.last, one.last),
                )
        found = store.load()
        store.close()
    assert len(found) == len(expected)
    assert {one.observation: one for one in found} == expected


def _aside(path: Path) -> Path:
    return path.with_name("observed.db.damaged")


@pytest.mark.parametrize(
    "damage", [b"\0" * 4096, b"not a database at all, but long enough" * 99, b"SQLite format 3\0"]
)
def test_a_file_that_is_none_of_ours_is_set_aside(
    path: Path, store: Story, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    assert store.add(PROXY) == [PROXY.observation]
    assert _again(path, store) == [PROXY]
    assert _aside(path).read_bytes() == damage
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [(record.levelname, "begins anew" in record.message) for record in caplog.records] == [
        ("WARNING", True)
    ]


FOREIGN = {
    "a newer version": "PRAGMA user_version = 2",
    "a version of no sense": "PRAGMA user_version = -1",
    "a destination of no grammar": "UPDATE seen SET destination = '10.0.0.5; flush ruleset'",
    "a destination of bytes": "UPDATE seen SET destination = x'00ff'",
    "a domain of no grammar": "UPDATE seen SET domain = 'a_t)(allow'",
    "a direction of no sense": "UPDATE seen SET direction = 'sideways'",
    "a count of no sense": "UPDATE seen SET count = 'many'",
    "a time of no sense": "UPDATE seen SET last = 'never'",
    "no table": "DROP TABLE seen",
    "a table of the older kind": "ALTER TABLE seen DROP COLUMN count",
    "our table without our version": "PRAGMA user_version = 0",
}


@pytest.mark.parametrize("statement", FOREIGN.values(), ids=FOREIGN)
def test_what_appfwd_never_wrote_is_set_aside(path: Path, store: Story, statement: str) -> None:
    first = Story(path)
    first.add(PROXY)
    first.close()
    _raw(path, statement)
    assert list(store.load()) == []
    assert _aside(path).exists()
    store.add(OTHER)
    assert _again(path, store) == [OTHER]


def test_damage_while_it_is_open_is_set_aside_too(path: Path, store: Story) -> None:
    store.add(*_places(0, 500, 1.0))
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert len(store.add(*_places(0, 10, 1.0))) == 10
    assert len(_again(path, store)) == 10


def test_a_file_with_its_middle_overwritten_is_set_aside(path: Path, store: Story) -> None:
    first = Story(path)
    first.add(*_places(0, 500, 1.0))
    first.close()
    data = path.read_bytes()
    path.write_bytes(data[:8192] + b"\xff" * (len(data) - 8192))
    assert list(store.load()) == []


def test_a_file_whose_index_tells_another_story_is_set_aside(path: Path, store: Story) -> None:
    """SQLite itself would notice nothing, and keep the same place twice."""
    first = Story(path)
    first.add(PROXY)
    first.close()
    path.write_bytes(path.read_bytes().replace(b"10.0.0.5", b"10.0.0.6", 1))
    assert list(store.load()) == []
    assert _aside(path).exists()


def test_one_that_was_set_aside_before_makes_room(path: Path, store: Story) -> None:
    for damage in (b"first" * 1000, b"second" * 1000):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(damage)
        assert list(store.load()) == []
        assert _aside(path).read_bytes() == damage


def test_sqlites_own_files_go_with_it(path: Path, store: Story) -> None:
    """A journal that stayed would be played into the new file."""
    path.parent.mkdir()
    parts = ("", "-journal", "-wal", "-shm")
    _aside(path).with_name("observed.db.damaged-journal").write_bytes(b"older")
    for part in parts:
        path.with_name(path.name + part).write_bytes(part.encode())
    store.set_aside()
    assert {child.name: child.read_bytes() for child in path.parent.iterdir()} == {
        f"observed.db.damaged{part}": part.encode() for part in parts
    }


def test_a_file_that_was_taken_away_is_made_again(path: Path, store: Story) -> None:
    store.add(PROXY)
    path.unlink()
    with suppress(StoreFailed):
        store.add(PROXY)
    assert store.add(OTHER) == [OTHER.observation]
    assert _again(path, store) == [OTHER]


def test_a_folder_in_the_files_place_is_a_failure(path: Path, store: Story) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreFailed, match="cannot be used"):
        store.load()
    path.rmdir()
    assert list(store.load()) == []


def test_a_file_that_is_damaged_again_at_once_is_a_failure(
    path: Path, store: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_file: sidefile.NoteFile, _connection: sqlite3.Connection) -> None:
        raise sqlite3.DatabaseError("not today")

    def damaged(_file: sidefile.NoteFile, _connection: sqlite3.Connection) -> None:
        raise sidefile.DamagedError("never")

    for broken in (refuse, damaged):
        monkeypatch.setattr(sidefile.NoteFile, "_prepare", broken)
        with pytest.raises(StoreFailed):
            store.load()
    monkeypatch.undo()
    store.add(PROXY)
    assert _again(path, store) == [PROXY]


def test_a_store_that_another_holds_is_a_failure_and_no_damage(
    path: Path, store: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(PROXY)
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *words, **more: connect(*words, **more | {"timeout": 0})
    )
    other = Story(path)
    holder = connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreFailed, match="locked"):
        other.add(OTHER)
    holder.execute("ROLLBACK")
    holder.close()
    other.add(OTHER)
    assert not _aside(path).exists()
    assert other.load() == [PROXY, OTHER]
    other.close()


def test_a_full_disk_is_a_failure_and_no_damage(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", place], check=True)
    path, filler, many = place / "observed.db", place / "filler", _places(0, 1000, 1.0)
    store = Story(path)
    try:
        store.add(PROXY)
        with suppress(OSError), filler.open("wb", 0) as file:
            while file.write(b"\0" * 1024):
                pass
        with pytest.raises(StoreFailed, match="Is the disk full"):
            store.add(*many)
        assert store.load() == [PROXY]
        filler.unlink()
        assert len(store.add(*many[:200])) == 200
        assert len(store.load()) == 201
        assert not _aside(path).exists()
    finally:
        store.close()
        subprocess.run(["umount", "-l", place], check=True)
