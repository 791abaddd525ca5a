"""The durable desired state, in SQLite.

Each save is one transaction, on the disk before it returns. ``synchronous`` is EXTRA: with FULL the
journal whose unlinking commits can be back after a power cut, and takes the commit back with it.
The schema's version is ``PRAGMA user_version``; older stores are brought forward step by step,
newer ones are refused.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from appfwd.errors import AppfwdError, StoreFailed
from appfwd.model.destination import Direction, parse_destination
from appfwd.model.domain import parse_domain
from appfwd.model.state import (
    BaselineWas,
    Bridge,
    BridgeWas,
    DesiredState,
    Grant,
    Guard,
    GuardWasNot,
    Moment,
    Settings,
    Trial,
    Undo,
)
from appfwd.ports import Record, Stored

T = TypeVar("T")

#: Statements that bring a store from version i to i + 1.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE rule (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL CHECK (kind IN ('grant', 'guard')),
            domain TEXT NOT NULL,
            direction TEXT NOT NULL,
            destination TEXT NOT NULL,
            created REAL NOT NULL,
            uid INTEGER NOT NULL,
            UNIQUE (kind, domain, direction, destination)
        )""",
        "CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
    (
        """CREATE TABLE trial (
            subject TEXT NOT NULL CHECK (subject IN ('bridge', 'baseline', 'guard')),
            was TEXT NOT NULL,
            detail TEXT NOT NULL,
            length REAL NOT NULL,
            boot TEXT NOT NULL,
            until REAL NOT NULL
        )""",
    ),
)


_SWITCHES = ("strict", "baseline", "active")
_TRIAL = "subject, was, detail, length, boot, until"


class SqliteStore:
    """Keeps the desired state in one file; all work is done on one thread."""

    def __init__(self, path: Path = Path("/var/lib/appfwd/state.db")) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._connection: sqlite3.Connection | None = None

    async def load(self) -> Stored:
        """Return what is stored; a new store is made where there is none.

        Raises:
            StoreFailed: it cannot be read, is damaged, or was written by a newer appfwd.

        """
        return await self._run(self._load)

    async def save(self, state: DesiredState, now: float, owners: Mapping[Any, int]) -> Stored:
        """Make ``state`` durable and return it with its records.

        Raises:
            StoreFailed: it could not be written; the old state is stored.

        """
        return await self._run(lambda: self._save(state, now, owners))

    async def _run(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            try:
                return work()
            except (sqlite3.Error, OSError, KeyError, ValueError) as error:
                msg = (
                    f"The store {self._path} cannot be used ({error}); nothing was changed. "
                    "Is the disk full?"
                )
                raise StoreFailed(msg) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=5)
            try:
                connection.execute("PRAGMA synchronous=EXTRA")
                _migrate(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _load(self) -> Stored:
        connection = self._open()
        records: dict[Grant | Guard, Record] = {}
        columns = "id, kind, domain, direction, destination, created, uid"
        try:
            for row in connection.execute(f"SELECT {columns} FROM rule ORDER BY id"):  # noqa: S608
                member, record = _decode(row)
                records[member] = record
            trials = frozenset(map(_trial, connection.execute(f"SELECT {_TRIAL} FROM trial")))  # noqa: S608
        except AppfwdError as error:
            msg = f"The store {self._path} holds what appfwd never wrote: {error}"
            raise StoreFailed(msg) from error
        settings = dict(connection.execute("SELECT name, value FROM setting"))
        state = DesiredState(
            frozenset(m for m in records if isinstance(m, Guard)),
            frozenset(m for m in records if isinstance(m, Grant)),
            Settings(
                Bridge(settings.get("bridge", Bridge.OPEN.value)),
                strict=settings.get("strict", "no") == "yes",
                baseline=settings.get("baseline", "no") == "yes",
                active=settings.get("active", "yes") == "yes",
            ),
            trials,
        )
        return Stored(state, records)

    def _save(self, state: DesiredState, now: float, owners: Mapping[Any, int]) -> Stored:
        connection = self._open()
        before = self._load()
        members: set[Grant | Guard] = {*state.guards, *state.grants}
        settings = {
            "bridge": state.settings.bridge.value,
            **{name: "yes" if getattr(state.settings, name) else "no" for name in _SWITCHES},
        }
        with closing(connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                cursor.executemany(
                    "DELETE FROM rule WHERE id = ?",
                    [
                        (int(record.id),)
                        for member, record in before.records.items()
                        if member not in members
                    ],
                )
                cursor.executemany(
                    "INSERT INTO rule (kind, domain, direction, destination, created, uid) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (*_encode(member), now, owners.get(member, 0))
                        for member in sorted(members - set(before.records), key=_encode)
                    ],
                )
                cursor.executemany(
                    "INSERT INTO setting VALUES (?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    settings.items(),
                )
                cursor.execute("DELETE FROM trial")
                cursor.executemany(
                    f"INSERT INTO trial ({_TRIAL}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
                    sorted(map(_trial_row, state.trials)),
                )
                cursor.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
        return self._load()


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        msg = f"it is of version {version}, made by a newer appfwd"
        raise ValueError(msg)
    for number in range(version, len(MIGRATIONS)):
        connection.execute("BEGIN IMMEDIATE")
        for statement in MIGRATIONS[number]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")


def _encode(member: Grant | Guard) -> tuple[str, str, str, str]:
    place = member.destination
    if isinstance(member, Grant):
        return ("grant", member.domain, place.direction.value, str(place))
    return ("guard", "", place.direction.value, str(place))


def _decode(row: tuple[Any, ...]) -> tuple[Grant | Guard, Record]:
    number, kind, domain, direction, destination, created, uid = row
    place = parse_destination(destination, Direction(direction))
    record = Record(str(number), created, uid)
    if kind == "grant":
        return Grant(parse_domain(domain), place), record
    return Guard(place), record


def _trial_row(trial: Trial) -> tuple[str, str, str, float, str, float]:
    assert trial.until is not None  # noqa: S101 - it is in force before it is stored
    end = (trial.length, trial.until.boot, trial.until.seconds)
    match trial.undo:
        case BridgeWas(bridge, strict):
            return ("bridge", bridge.value, "strict" if strict else "", *end)
        case BaselineWas(on):
            return ("baseline", "on" if on else "off", "", *end)
        case GuardWasNot(guard):
            place = guard.destination
            return ("guard", str(place), place.direction.value, *end)


def _trial(row: tuple[Any, ...]) -> Trial:
    subject, was, detail, length, boot, until = row
    undo: Undo
    if subject == "bridge":
        undo = BridgeWas(Bridge(was), strict=detail == "strict")
    elif subject == "baseline":
        undo = BaselineWas(was == "on")
    else:
        undo = GuardWasNot(Guard(parse_destination(was, Direction(detail))))
    return Trial(undo, length, Moment(boot, until))
