"""Long work on the event loop in turns, so that everything else on it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

#: Things done in one turn: some milliseconds for what is signalled or logged.
_AT_ONCE = 50


async def in_turns(things: Iterable[T]) -> AsyncIterator[T]:
    """Yield ``things``; now and then others have their turn first."""
    for number, thing in enumerate(things, 1):
        yield thing
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
