"""How long the stages of a change took: told in the journal, and to the benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up the seconds of stages by name, in the order in which each came first."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done within to the stage ``name``, whether it fails or not."""
        began = self._clock()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + self._clock() - began

    def __str__(self) -> str:
        """Return the stages with their milliseconds."""
        return ", ".join(f"{name} {1e3 * one:.2f} ms" for name, one in self._seconds.items())
