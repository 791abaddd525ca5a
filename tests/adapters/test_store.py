"""The store keeps what it was given, through restarts, kills, full disks and damage."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appfwd.adapters.store.schema import MIGRATIONS
from appfwd.errors import StoreFailed
from appfwd.model.destination import Direction, parse_destination
from appfwd.model.ends import After, At, Moment, Session, WithBoot, WithSession
from appfwd.model.fence import Fence, Kept
from appfwd.model.state import (
    BaselineWas,
    Bridge,
    BridgeWas,
    DesiredState,
    Ended,
    Ending,
    FenceWas,
    Grant,
    Guard,
    GuardWasNot,
    Settings,
    Trial,
)
from appfwd.ports import Record, Stored
from tests.adapters.closing import store
from tests.core.samples import states

PROXY = parse_destination("10.0.0.5:3128")
GUARD, GRANT = Guard(PROXY), Grant("mozilla_t", PROXY)
INBOUND = Guard(parse_destination("any:5432", Direction.IN))
STATE = DesiredState(frozenset({GUARD}), frozenset({GRANT}))


def _saved(path: Path, state: DesiredState, now: float = 1.5, uid: int = 7) -> Stored:
    owners = dict.fromkeys(state.beyond(DesiredState()), uid)
    with store(path) as one:
        return asyncio.run(one.save(state, now, owners))


def _loaded(path: Path) -> Stored:
    with store(path) as one:
        return asyncio.run(one.load())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "appfwd" / "state.db"


_ON_A_DISK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@_ON_A_DISK  # type: ignore[untyped-decorator,unused-ignore]
@given(first=states(), second=states())
def test_any_state_comes_back_as_it_was_saved(first: DesiredState, second: DesiredState) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "state.db"
        for state in (first, second):
            saved = _saved(path, state)
            assert saved.state == state
            assert _loaded(path) == saved
            assert set(saved.records) == state.beyond(DesiredState())


@_ON_A_DISK  # type: ignore[untyped-decorator,unused-ignore]
@given(row=st.lists(states(), max_size=4))
def test_what_one_store_says_is_what_another_reads(row: list[DesiredState]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "state.db"
        with store(path) as one:
            for number, state in enumerate(row):
                owners = dict.fromkeys(state.beyond(DesiredState()), number)
                saved = asyncio.run(one.save(state, number + 0.5, owners))
                read = _loaded(path)
                assert read == saved
                assert [*read.records] == [*saved.records]


def test_after_a_save_that_failed_all_is_read_anew(path: Path) -> None:
    with store(path) as one:
        asyncio.run(one.save(STATE, 0.0, {}))
        _raw(path, "CREATE TRIGGER no BEFORE INSERT ON rule BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(StoreFailed):
            asyncio.run(one.save(DesiredState(frozenset({INBOUND})), 0.0, {}))
        _raw(path, "DROP TRIGGER no")
        saved = asyncio.run(one.save(DesiredState(frozenset({GUARD, INBOUND})), 0.0, {}))
        assert _loaded(path) == saved


def test_a_new_store_is_empty_up_and_open(path: Path) -> None:
    assert _loaded(path) == Stored(DesiredState())


def test_settings_come_back(path: Path) -> None:
    for kept in (
        Settings(Bridge.CLOSED, strict=True, active=False),
        Settings(Bridge.OBSERVED, baseline=True),
    ):
        _saved(path, DesiredState(settings=kept))
        assert _loaded(path).state.settings == kept


def test_trials_come_back_and_go_with_the_next_save(path: Path) -> None:
    until = Moment("b0071d", 12.5)
    trials = frozenset(
        Trial(undo, 60.0, until)
        for undo in (
            BridgeWas(Bridge.CLOSED, strict=True),
            BaselineWas(on=False),
            GuardWasNot(GUARD),
            GuardWasNot(INBOUND),
            FenceWas("mozilla_t", None),
            FenceWas("squid_t", Fence("squid_t", dns=False, kept=Kept(frozenset({"a_packet_t"})))),
        )
    )
    _saved(path, DesiredState(trials=trials))
    assert _loaded(path).state.trials == trials
    _saved(path, DesiredState())
    assert not _loaded(path).state.trials


SESSION = WithSession(Session("c2", 1_764_000_000_123_457))


def test_ends_and_what_ended_come_back(path: Path) -> None:
    boot = Moment("b0071d", 12.5)
    for end in (After(60.0, boot, 99.5), At(1e9 + 0.25), WithBoot("b0071d"), SESSION):
        state = replace(STATE, endings=frozenset({Ending(GRANT, end)}))
        _saved(path, state)
        assert _loaded(path).state == state
    ended = frozenset({Ended("1", GRANT, 7.25), Ended("2", Grant("a_t", INBOUND.destination), 8.0)})
    _saved(path, DesiredState(ended=ended))
    assert _loaded(path).state == DesiredState(ended=ended)
    _saved(path, DesiredState())
    assert _loaded(path).state == DesiredState()


def test_records_keep_who_and_when(path: Path) -> None:
    first = _saved(path, DesiredState(frozenset({GUARD})), now=1.5, uid=7)
    second = _saved(path, STATE, now=2.5, uid=8)
    assert second.records[GUARD] == first.records[GUARD] == Record("1", 1.5, 7)
    assert second.records[GRANT] == Record("2", 2.5, 8)


def test_what_nobody_owns_is_roots(path: Path) -> None:
    with store(path) as one:
        saved = asyncio.run(one.save(STATE, 0.0, {}))
    assert {record.uid for record in saved.records.values()} == {0}


def test_an_id_is_never_used_again(path: Path) -> None:
    _saved(path, STATE)
    _saved(path, DesiredState())
    again = _saved(path, STATE)
    assert {record.id for record in again.records.values()} == {"3", "4"}


def test_the_same_destination_in_both_directions_is_two(path: Path) -> None:
    both = frozenset({INBOUND, Guard(parse_destination("any:5432"))})
    _saved(path, DesiredState(both))
    assert _loaded(path).state.guards == both


def test_folder_and_file_are_for_root_alone(path: Path) -> None:
    _saved(path, STATE)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [child.name for child in path.parent.iterdir()] == ["state.db"]


def test_killed_at_any_moment_it_has_all_that_was_confirmed(path: Path) -> None:
    command = [sys.executable, "-m", "tests.adapters.writer", str(path)]
    root = Path(__file__).parents[2]
    for rounds in (1, 7, 20):
        path.unlink(missing_ok=True)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
            assert process.stdout is not None
            confirmed = [int(process.stdout.readline()) for _ in range(rounds)][-1]
            process.kill()
            confirmed = max([confirmed, *(int(line) for line in process.stdout if line.strip())])
        found = len(_loaded(path).state.guards)
        assert confirmed <= found <= confirmed + 1
        _saved(path, STATE)
        assert _loaded(path).state == STATE


def _raw(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_file_of_version_0_is_brought_forward(path: Path) -> None:
    path.parent.mkdir()
    _raw(path, "PRAGMA user_version = 0")
    _saved(path, STATE)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    connection.close()
    assert _loaded(path).state == STATE


def test_a_store_of_each_older_version_is_brought_forward(path: Path) -> None:
    path.parent.mkdir()
    for version in range(len(MIGRATIONS)):
        path.unlink(missing_ok=True)
        done = [text for statements in MIGRATIONS[:version] for text in statements]
        _raw(path, *done, f"PRAGMA user_version = {version}")
        _saved(path, STATE)
        assert _loaded(path).state == STATE


def test_what_an_older_version_holds_stays_and_its_ids_are_never_used_again(path: Path) -> None:
    path.parent.mkdir()
    rows = [
        f"INSERT INTO rule VALUES ({number}, 'guard', '', 'out', '10.0.0.{number}', 1.5, 7)"  # noqa: S608
        for number in (1, 2, 3)
    ]
    done = [text for statements in MIGRATIONS[:2] for text in statements]
    trial = "INSERT INTO trial VALUES ('baseline', 'off', '', 60.0, 'b0071d', 12.5)"
    _raw(path, *done, *rows, "DELETE FROM rule WHERE id = 3", trial, "PRAGMA user_version = 2")
    loaded = _loaded(path)
    assert {record.id for record in loaded.records.values()} == {"1", "2"}
    assert {trial.undo for trial in loaded.state.trials} == {BaselineWas(on=False)}
    saved = _saved(path, STATE)
    assert {record.id for record in saved.records.values()} == {"4", "5"}


def test_a_newer_store_is_refused_and_left_alone(path: Path) -> None:
    _saved(path, STATE)
    _raw(path, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    with pytest.raises(StoreFailed, match="made by a newer appfwd"):
        _loaded(path)
    with pytest.raises(StoreFailed, match="made by a newer appfwd"):
        _saved(path, DesiredState())
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", [b"\0" * 4096, b"not a database at all, but long enough" * 99])
def test_a_damaged_store_is_refused_and_left_alone(path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    with pytest.raises(StoreFailed, match="nothing was changed"):
        _loaded(path)
    assert path.read_bytes() == damage


def test_a_store_with_its_middle_overwritten_is_refused(path: Path) -> None:
    many = frozenset(Guard(parse_destination(f"10.0.0.{n}")) for n in range(256))
    _saved(path, DesiredState(many))
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreFailed):
        _loaded(path)


BAD = {
    "a destination of no grammar": "UPDATE rule SET destination = '10.0.0.5; flush ruleset'",
    "a domain of no grammar": "UPDATE rule SET domain = 'a_t)(allow' WHERE kind = 'grant'",
    "a direction of no sense": "UPDATE rule SET direction = 'sideways'",
    "a bridge of no sense": "UPDATE setting SET value = 'ajar' WHERE name = 'bridge'",
    "a table that is not there": "DROP TABLE setting",
}


@pytest.mark.parametrize("statement", BAD.values(), ids=BAD)
def test_what_appfwd_never_wrote_is_refused(path: Path, statement: str) -> None:
    _saved(path, STATE)
    _raw(path, statement)
    with pytest.raises(StoreFailed):
        _loaded(path)


def test_a_folder_in_the_files_place_is_a_failure_of_the_store(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreFailed):
        _loaded(path)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Have a disk of 128 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", 0) as file:
        while file.write(b"\0" * 1024):
            pass


def test_a_full_disk_leaves_the_old_state_and_a_freed_one_takes_the_new(disk: Path) -> None:
    path, filler = disk / "state.db", disk / "filler"
    larger = DesiredState(frozenset(Guard(parse_destination(f"10.0.0.{n}")) for n in range(256)))
    with store(path) as one:
        asyncio.run(one.save(STATE, 0.0, {}))
        _fill(filler)
        with pytest.raises(StoreFailed, match="Is the disk full"):
            asyncio.run(one.save(larger, 0.0, {}))
        assert asyncio.run(one.load()).state == STATE
        assert _loaded(path).state == STATE
        filler.unlink()
        assert asyncio.run(one.save(larger, 0.0, {})).state == larger
    assert _loaded(path).state == larger


def test_a_disk_that_turned_read_only_leaves_the_old_state(disk: Path) -> None:
    path = disk / "state.db"
    _saved(path, STATE)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(StoreFailed):
        _saved(path, DesiredState())
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert _loaded(path).state == STATE
