"""What a person said not to be asked about again, in an SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appfwd.adapters.notes.file import DamagedError, NoteFile, transaction
from appfwd.errors import AppfwdError, Busy, NotFound
from appfwd.model.block import Block, Blocked
from appfwd.model.destination import Direction, parse_destination
from appfwd.model.domain import parse_domain

#: Blocks that are kept; more are refused, since none may be lost unsaid.
KEEP_AT_MOST = 10_000

_VERSION = 1
_SCHEMA = (
    """CREATE TABLE blocked (
        domain TEXT NOT NULL,
        direction TEXT NOT NULL,
        destination TEXT NOT NULL,
        at REAL NOT NULL,
        uid INTEGER NOT NULL,
        PRIMARY KEY (domain, direction, destination)
    )""",
)


class BlockStore:
    """Keeps blocks in one file, which is set aside where it is damaged (see NoteFile)."""

    def __init__(self, path: Path) -> None:
        self._file = NoteFile(path, "blocks", _VERSION, _SCHEMA)

    async def load(self) -> Sequence[Blocked]:
        """Return all blocks, ordered by domain, then destination.

        Raises:
            StoreFailed: they cannot be read.

        """
        return await self._file.run(_load)

    async def add(self, blocked: Blocked) -> None:
        """Keep a block; one that is there stays as it is.

        Raises:
            StoreFailed, Busy: it is not kept.

        """
        await self._file.run(lambda connection: _add(connection, blocked))

    async def remove(self, block: Block) -> None:
        """Drop a block.

        Raises:
            NotFound: it is not there.
            StoreFailed: it is still there.

        """
        await self._file.run(lambda connection: _remove(connection, block))

    async def close(self) -> None:
        """Close the file; the store is of no use afterwards."""
        await self._file.close()


def _load(connection: sqlite3.Connection) -> list[Blocked]:
    rows = connection.execute("SELECT domain, direction, destination, at, uid FROM blocked")
    return sorted(map(_decode, rows), key=lambda one: one.block.sort_key())


def _add(connection: sqlite3.Connection, blocked: Blocked) -> None:
    with transaction(connection):
        (count,) = connection.execute("SELECT count(*) FROM blocked").fetchone()
        if count >= KEEP_AT_MOST:
            msg = f"{count} places are blocked already; 'appfwctl unblock' takes some away."
            raise Busy(msg)
        row = (*_key(blocked.block), blocked.at, blocked.uid)
        connection.execute("INSERT OR IGNORE INTO blocked VALUES (?, ?, ?, ?, ?)", row)


def _remove(connection: sqlite3.Connection, block: Block) -> None:
    where = "domain = ? AND direction = ? AND destination = ?"
    with transaction(connection):
        if not connection.execute(f"DELETE FROM blocked WHERE {where}", _key(block)).rowcount:  # noqa: S608
            msg = "There is no such block; 'appfwctl blocked' lists what there is."
            raise NotFound(msg)


def _key(block: Block) -> tuple[str, str, str]:
    return (block.domain, block.destination.direction.value, str(block.destination))


def _decode(row: tuple[Any, ...]) -> Blocked:
    domain, direction, destination, at, uid = row
    try:
        place = parse_destination(destination, Direction(direction))
        return Blocked(Block(parse_domain(domain), place), float(at), int(uid))
    except (AppfwdError, TypeError, ValueError) as error:
        raise DamagedError(str(error)) from error
