"""Long work beside the event loop, or on it in turns, so that everything else goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

#: Things done in one turn: some milliseconds for what is signalled or logged.
_AT_ONCE = 50


class Aside:
    """A thread for one kind of work, which no other kind can keep busy."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Return what ``work`` returns there."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(work, *arguments, **options))


async def in_turns(things: Iterable[T]) -> AsyncIterator[T]:
    """Yield ``things``; now and then others have their turn first."""
    for number, thing in enumerate(things, 1):
        yield thing
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
