"""Save one state after the other until killed: ``python -m tests.adapters.writer STORE``.

A line with the number of guards is printed after each save.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from appfwd.adapters.store import SqliteStore
from appfwd.model.destination import parse_destination
from appfwd.model.state import DesiredState, Guard


async def _write(path: Path) -> None:
    store = SqliteStore(path)
    guards: frozenset[Guard] = frozenset()
    for number in itertools.count(1):
        guards |= {Guard(parse_destination(f"10.{number >> 8}.{number & 255}.1"))}
        await store.save(DesiredState(guards=guards), 0.0, {})
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(_write(Path(sys.argv[1])))
