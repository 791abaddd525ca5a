"""Writes a document's state into the store, while the daemon is not there to apply it."""

import asyncio
import json
import sys
import time
from pathlib import Path

from appfwd.adapters.store import SqliteStore
from appfwd.model.document import parse_document
from appfwd.model.whole import become


async def hold(text: str) -> None:
    """Store a document's state."""
    store = SqliteStore()
    change = become(parse_document(text), (), lambda _: False)
    await store.save(change((await store.load()).state), time.time(), {})


def main(path: str) -> None:
    """Store what a file has."""
    asyncio.run(hold(Path(path).read_text()))
    print("null")


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
