"""What was observed, in an SQLite file of its own.

Observations are not worth a failed daemon, nor a wait for the disk: ``synchronous`` is NORMAL,
since a power cut that takes the last second of them harms nothing, and a file that cannot be used
is set aside. There are at most :data:`KEEP_AT_MOST`, whatever the machine's programs do.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from appfwd.errors import AppfwdError, StoreFailed
from appfwd.model.destination import Direction, parse_destination
from appfwd.model.domain import parse_domain
from appfwd.model.observation import Observation, Seen

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Observations that are kept; those last seen longest ago go first.
KEEP_AT_MOST = 10_000

#: ``PRAGMA user_version`` of the schema below.
_VERSION = 1
_SCHEMA = (
    """CREATE TABLE seen (
        id INTEGER PRIMARY KEY,
        domain TEXT NOT NULL,
        direction TEXT NOT NULL,
        destination TEXT NOT NULL,
        count INTEGER NOT NULL,
        first REAL NOT NULL,
        last REAL NOT NULL,
        UNIQUE (domain, direction, destination)
    )""",
    "CREATE INDEX seen_last ON seen (last)",
    f"PRAGMA user_version = {_VERSION}",
)
#: SQLite's own files beside one of its databases; a journal of another's must not stay behind.
_PARTS = ("", "-journal", "-wal", "-shm")
#: What a file that is not ours, or was ours once, answers; a full disk and its like are no damage.
_DAMAGE = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class _DamagedError(Exception):
    """The file holds what this appfwd never wrote."""


class ObservationStore:
    """Keeps observations in one file; all work is done on one thread.

    A file that is damaged, or of a newer appfwd, is renamed to ``…damaged`` with a warning, in
    place of one that was set aside before, and a new one is begun.
    """

    def __init__(self, path: Path = Path("/var/lib/appfwd/observed.db")) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="observations")
        self._connection: sqlite3.Connection | None = None

    async def add(self, batch: Sequence[Seen]) -> Sequence[Observation]:
        """Add counts and widen first and last, in one transaction; return what was not there.

        Raises:
            StoreFailed: nothing was added.

        """
        return await self._run(lambda connection: _add(connection, batch))

    async def load(self) -> Sequence[Seen]:
        """Return what is kept, ordered by domain, then destination.

        Raises:
            StoreFailed: it cannot be read.

        """
        return await self._run(_load)

    async def forget(self, observations: Collection[Observation] | None = None) -> int:
        """Drop ``observations`` (None: all) and return how many of them were there.

        Raises:
            StoreFailed: nothing was dropped.

        """
        return await self._run(lambda connection: _forget(connection, observations))

    async def close(self) -> None:
        """Close the file; the store is of no use afterwards."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def guarded() -> T:
            try:
                return self._mended(work)
            except (sqlite3.Error, OSError, _DamagedError) as error:
                self._disconnect()  # the next call begins anew, with the file that is there then
                msg = (
                    f"The observations in {self._path} cannot be used ({error}). Is the disk full?"
                )
                raise StoreFailed(msg) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    def _mended(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do ``work``, with a new file where the one there is damaged."""
        try:
            return work(self._open())
        except (sqlite3.Error, _DamagedError) as error:
            if not _is_damage(error):
                raise
            self._set_aside(error)
            return work(self._open())

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=5)
            try:
                connection.execute("PRAGMA synchronous=NORMAL")
                _prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _set_aside(self, why: Exception) -> None:
        self._disconnect()
        aside = f"{self._path}.damaged"
        log.warning(
            "the observations in %s cannot be used (%s); they are now in %s, and observing "
            "begins anew",
            *(self._path, why, aside),
        )
        for part in _PARTS:
            Path(aside + part).unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                Path(f"{self._path}{part}").rename(aside + part)


def _is_damage(error: Exception) -> bool:
    if isinstance(error, _DamagedError):
        return True
    # The low byte is the primary code. Python's own errors, such as of a wrong thread, have none.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in _DAMAGE


def _prepare(connection: sqlite3.Connection) -> None:
    """Check a file, and make it ours where it is new."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        msg = f"it is of version {version}, made by a newer appfwd"
        raise _DamagedError(msg)
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise _DamagedError(verdict)
    if version == 0:
        with _transaction(connection):
            for statement in _SCHEMA:
                connection.execute(statement)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _add(connection: sqlite3.Connection, batch: Sequence[Seen]) -> list[Observation]:
    new = []
    update = (
        "UPDATE seen SET count = count + ?, first = min(first, ?), last = max(last, ?) "
        "WHERE domain = ? AND direction = ? AND destination = ?"
    )
    insert = (
        "INSERT INTO seen (count, first, last, domain, direction, destination) "
        "VALUES (?, ?, ?, ?, ?, ?)"
    )
    prune = (
        "DELETE FROM seen WHERE id IN "
        "(SELECT id FROM seen ORDER BY last DESC, id DESC LIMIT -1 OFFSET ?)"
    )
    with _transaction(connection):
        for one in batch:
            row = (one.count, one.first, one.last, *_key(one.observation))
            if not connection.execute(update, row).rowcount:
                connection.execute(insert, row)
                new.append(one.observation)
        if new:
            connection.execute(prune, (KEEP_AT_MOST,))
    return new


def _load(connection: sqlite3.Connection) -> list[Seen]:
    columns = "domain, direction, destination, count, first, last"
    seen = [_decode(row) for row in connection.execute(f"SELECT {columns} FROM seen")]  # noqa: S608
    return sorted(
        seen, key=lambda one: (one.observation.domain, one.observation.destination.sort_key())
    )


def _forget(connection: sqlite3.Connection, observations: Collection[Observation] | None) -> int:
    with _transaction(connection):
        if observations is None:
            return connection.execute("DELETE FROM seen").rowcount
        delete = "DELETE FROM seen WHERE domain = ? AND direction = ? AND destination = ?"
        return sum(connection.execute(delete, _key(one)).rowcount for one in set(observations))


def _key(observation: Observation) -> tuple[str, str, str]:
    place = observation.destination
    return (observation.domain, place.direction.value, str(place))


def _decode(row: tuple[Any, ...]) -> Seen:
    domain, direction, destination, count, first, last = row
    try:
        place = parse_destination(destination, Direction(direction))
        return Seen(Observation(parse_domain(domain), place), int(count), float(first), float(last))
    except (AppfwdError, TypeError, ValueError) as error:
        raise _DamagedError(str(error)) from error
