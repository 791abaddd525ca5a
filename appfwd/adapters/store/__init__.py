"""The durable desired state, in SQLite.

Each save is one transaction, on the disk before it returns. ``synchronous`` is EXTRA: with FULL the
journal whose unlinking commits can be back after a power cut, and takes the commit back with it.
Older stores are brought forward step by step, newer ones are refused.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from appfwd.adapters.store.rows import (
    ENDED,
    ENDING,
    RULE,
    TRIAL,
    ended_of,
    ended_row,
    ending_of,
    ending_row,
    rule_of,
    rule_row,
    trial_of,
    trial_row,
)
from appfwd.adapters.store.schema import migrate
from appfwd.errors import AppfwdError, StoreFailed
from appfwd.model.fence import Fence
from appfwd.model.patched import Patched
from appfwd.model.state import Bridge, DesiredState, Grant, Guard, Member, Settings
from appfwd.ports import Record, Stored

T = TypeVar("T")

_SWITCHES = ("strict", "baseline", "active")


class SqliteStore:
    """Keeps the desired state in one file; all work is done on one thread."""

    def __init__(self, path: Path = Path("/var/lib/appfwd/state.db")) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._connection: sqlite3.Connection | None = None
        #: What is stored, where that is known: nobody else writes.
        self._known: Stored | None = None

    async def load(self) -> Stored:
        """Return what is stored; a new store is made where there is none.

        Raises:
            StoreFailed: it cannot be read, is damaged, or was written by a newer appfwd.

        """
        self._known = await self._run(self._load)
        return self._known

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
                migrate(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _load(self) -> Stored:
        connection = self._open()
        records: dict[Member, Record] = {}
        try:
            for row in connection.execute(f"SELECT {RULE} FROM rule ORDER BY id"):  # noqa: S608
                member, record = rule_of(row)
                records[member] = record
            trials = frozenset(map(trial_of, connection.execute(f"SELECT {TRIAL} FROM trial")))  # noqa: S608
            endings = frozenset(map(ending_of, connection.execute(f"SELECT {ENDING} FROM ending")))  # noqa: S608
            ended = frozenset(map(ended_of, connection.execute(f"SELECT {ENDED} FROM ended")))  # noqa: S608
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
            frozenset(m for m in records if isinstance(m, Fence)),
            endings,
            ended,
        )
        return Stored(state, Patched(records))

    def _save(self, state: DesiredState, now: float, owners: Mapping[Any, int]) -> Stored:
        connection = self._open()
        before, self._known = self._known or self._load(), None
        records: dict[Member, Record | None] = {}
        settings = {
            "bridge": state.settings.bridge.value,
            **{name: "yes" if getattr(state.settings, name) else "no" for name in _SWITCHES},
        }
        with closing(connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                for member in before.state.beyond(state):
                    identity = int(before.records[member].id)
                    cursor.execute("DELETE FROM rule WHERE id = ?", (identity,))
                    records[member] = None
                for member in sorted(state.beyond(before.state), key=rule_row):
                    row = (*rule_row(member), now, owners.get(member, 0))
                    cursor.execute(
                        "INSERT INTO rule "
                        "(kind, domain, direction, destination, detail, created, uid) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?)",
                        row,
                    )
                    records[member] = Record(str(cursor.lastrowid), *row[-2:])
                cursor.executemany(
                    "INSERT INTO setting VALUES (?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    settings.items(),
                )
                _write_ends(cursor, before.state, state)
                cursor.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
        self._known = Stored(state, before.records.changed(records))
        return self._known


def _write_ends(cursor: sqlite3.Cursor, before: DesiredState, state: DesiredState) -> None:
    """Write trials, the ends of grants, and what ended; each is written where it differs."""
    for name, columns, row, old, new in (
        ("trial", TRIAL, trial_row, before.trials, state.trials),
        ("ending", ENDING, ending_row, before.endings, state.endings),
        ("ended", ENDED, ended_row, before.ended, state.ended),
    ):
        marks = ", ".join("?" for _ in columns.split(", "))
        gone, came = _rows(row, old - new), _rows(row, new - old)
        cursor.executemany(f"DELETE FROM {name} WHERE ({columns}) = ({marks})", gone)  # noqa: S608
        cursor.executemany(f"INSERT INTO {name} ({columns}) VALUES ({marks})", came)  # noqa: S608


def _rows(row: Callable[[Any], tuple[Any, ...]], values: Iterable[object]) -> list[Any]:
    return sorted(row(value) for value in values)
