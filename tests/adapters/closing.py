"""Stores that are closed when their test ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appfwd.adapters.store import SqliteStore


@contextmanager
def store(path: Path) -> Iterator[SqliteStore]:
    """Have a store; its connection is closed on its own thread."""
    made = SqliteStore(path)
    try:
        yield made
    finally:
        connection = made._connection
        if connection is not None:
            made._thread.submit(connection.close).result()
        made._thread.shutdown()
