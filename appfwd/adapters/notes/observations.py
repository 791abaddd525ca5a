"""What was observed, or was refused: counts of it in an SQLite file, bounded.

There are at most :data:`KEEP_AT_MOST`, whatever the machine's programs do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from appfwd.adapters.notes.file import DamagedError, NoteFile, transaction
from appfwd.errors import AppfwdError
from appfwd.model.destination import Direction, parse_destination
from appfwd.model.domain import parse_domain
from appfwd.model.observation import Observation, Seen

#: Observations that are kept; those last seen longest ago go first.
KEEP_AT_MOST = 10_000

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
)


class ObservationStore:
    """Keeps observations in one file, which is set aside where it is damaged (see NoteFile).

    ``holds`` names what they are, in messages; of one domain ``of_one`` are kept at the most.
    """

    def __init__(self, path: Path, holds: str = "observations", of_one: int = KEEP_AT_MOST) -> None:
        self._file, self._of_one = NoteFile(path, holds, _VERSION, _SCHEMA), of_one

    async def add(self, batch: Sequence[Seen]) -> Sequence[Observation]:
        """Add counts and widen first and last, in one transaction; return what was not there.

        Raises:
            StoreFailed: nothing was added.

        """
        return await self._file.run(lambda connection: _add(connection, batch, self._of_one))

    async def load(self) -> Sequence[Seen]:
        """Return what is kept, ordered by domain, then destination.

        Raises:
            StoreFailed: it cannot be read.

        """
        return await self._file.run(_load)

    async def forget(self, observations: Collection[Observation] | None = None) -> int:
        """Drop ``observations`` (None: all) and return how many of them were there.

        Raises:
            StoreFailed: nothing was dropped.

        """
        return await self._file.run(lambda connection: _forget(connection, observations))

    async def close(self) -> None:
        """Close the file; the store is of no use afterwards."""
        await self._file.close()


def _add(connection: sqlite3.Connection, batch: Sequence[Seen], of_one: int) -> list[Observation]:
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
    prune_one = prune.replace("FROM seen ORDER", "FROM seen WHERE domain = ? ORDER")
    with transaction(connection):
        for one in batch:
            row = (one.count, one.first, one.last, *_key(one.observation))
            if not connection.execute(update, row).rowcount:
                connection.execute(insert, row)
                new.append(one.observation)
        for domain in sorted({one.domain for one in new}):
            connection.execute(prune_one, (domain, of_one))
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
    with transaction(connection):
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
        raise DamagedError(str(error)) from error
