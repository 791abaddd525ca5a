"""An SQLite file that the firewall can do without: what was observed, what is not asked again.

It is not worth a failed daemon, nor a wait for the disk: ``synchronous`` is NORMAL, since a power
cut that takes the last second of it harms nothing, and a file that cannot be used is set aside.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from appfwd.errors import StoreFailed

T = TypeVar("T")

log = logging.getLogger(__name__)

#: SQLite's own files beside one of its databases; a journal of another's must not stay behind.
_PARTS = ("", "-journal", "-wal", "-shm")
#: What a file that is not ours, or was ours once, answers; a full disk and its like are no damage.
_DAMAGE = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DamagedError(Exception):
    """The file holds what this appfwd never wrote."""


class NoteFile:
    """One file with the tables of ``schema``; all work is done on one thread.

    ``holds`` names what is in it, in messages. A file that is damaged, or of a newer appfwd
    (``version`` is its ``PRAGMA user_version``), is renamed to ``…damaged`` with a warning, in
    place of one that was set aside before, and a new one is begun.
    """

    def __init__(self, path: Path, holds: str, version: int, schema: Sequence[str]) -> None:
        self._path, self._holds, self._version = path, holds, version
        self._schema = (*schema, f"PRAGMA user_version = {version}")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=holds)
        self._connection: sqlite3.Connection | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``work`` gives of the file.

        Raises:
            StoreFailed: the file cannot be used now.

        """

        def guarded() -> T:
            try:
                return self._mended(work)
            except (sqlite3.Error, OSError, DamagedError) as error:
                self._disconnect()  # the next call begins anew, with the file that is there then
                msg = (
                    f"The {self._holds} in {self._path} cannot be used ({error}). Is the disk full?"
                )
                raise StoreFailed(msg) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    async def close(self) -> None:
        """Close the file; this is of no use afterwards."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    def _mended(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do ``work``, with a new file where the one there is damaged."""
        try:
            return work(self._open())
        except (sqlite3.Error, DamagedError) as error:
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
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check a file, and make it ours where it is new."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, self._version):
            msg = f"it is of version {version}, made by a newer appfwd"
            raise DamagedError(msg)
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise DamagedError(verdict)
        if version == 0:
            with transaction(connection):
                for statement in self._schema:
                    connection.execute(statement)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _set_aside(self, why: Exception) -> None:
        self._disconnect()
        aside = f"{self._path}.damaged"
        log.warning(
            "the %s in %s cannot be used (%s); they are now in %s, and keeping them begins anew",
            *(self._holds, self._path, why, aside),
        )
        for part in _PARTS:
            Path(aside + part).unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                Path(f"{self._path}{part}").rename(aside + part)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do what is done within as a whole, or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_damage(error: Exception) -> bool:
    if isinstance(error, DamagedError):
        return True
    # The low byte is the primary code. Python's own errors, such as of a wrong thread, have none.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in _DAMAGE
