"""Gathers what the kernel's records tell, and stores it now and then.

A record costs a look into a dictionary; the store is written once a second, however many there are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from appfwd.errors import StoreFailed
from appfwd.model.observation import Observation, Seen
from appfwd.ports import Observations

log = logging.getLogger(__name__)

#: Different observations that wait to be stored; records of more are dropped.
WAITING_AT_MOST = 4_096
#: The same of one domain, so that none takes the room of the others.
WAITING_OF_ONE = 1_024
#: New observations that are told of at once.
TOLD_AT_MOST = 256


@dataclass(slots=True)
class _Tally:
    """How often something was seen, and when first and last (Unix time)."""

    count: int
    first: float
    last: float

    def add(self, count: int, first: float, last: float) -> None:
        self.count += count
        self.first = min(self.first, first)
        self.last = max(self.last, last)


class Gatherer:
    """Counts observations, and keeps the counts in a store.

    ``now`` gives Unix time, ``flush_after`` is how long records are gathered for, in seconds.
    ``dropped`` counts the records that found too many different observations waiting, of all
    domains or of their own. ``on_new`` is called with observations that the store did not have
    before, at most :data:`TOLD_AT_MOST` at once.
    """

    def __init__(
        self,
        store: Observations,
        now: Callable[[], float] = time.time,
        flush_after: float = 1.0,
    ) -> None:
        self._store, self._now, self._flush_after = store, now, flush_after
        self._waiting: dict[Observation, _Tally] = {}
        self._of_domain: Counter[str] = Counter()
        self._woken = asyncio.Event()
        self._storing = asyncio.Lock()
        self._failing = False
        self.dropped = 0
        self.on_new: Callable[[Sequence[Observation]], None] = lambda _new: None

    def gather(self, observation: Observation, count: int, first: float, last: float) -> None:
        """Count an observation that was made ``count`` times, ``first`` and ``last`` (Unix time).

        A time to come, from before the clock was set back, is taken for now: else that observation
        would be kept longest.
        """
        now = self._now()
        self._gather(observation, count, min(first, now), min(last, now))

    async def run(self) -> None:
        """Store what was gathered, until cancelled; what waits then is lost."""
        while True:
            await self._woken.wait()
            await asyncio.sleep(self._flush_after)
            async with self._storing:
                await self._flush()

    async def seen(self) -> Sequence[Seen]:
        """Return everything observed, until now, ordered by domain, then destination.

        Raises:
            StoreFailed: it cannot be read.

        """
        async with self._storing:
            await self._flush()
            return await self._store.load()

    async def forget(self, observations: Collection[Observation] | None = None) -> int:
        """Drop ``observations`` (None: all) and return how many of them were there.

        Raises:
            StoreFailed: nothing was dropped from the store.

        """
        async with self._storing:
            await self._flush()
            # What the store would not take is forgotten too.
            for one in list(self._waiting) if observations is None else observations:
                if self._waiting.pop(one, None) is not None:
                    self._of_domain[one.domain] -= 1
            return await self._store.forget(observations)

    def _gather(self, observation: Observation, count: int, first: float, last: float) -> None:
        tally = self._waiting.get(observation)
        if tally is not None:
            tally.add(count, first, last)
        elif (
            len(self._waiting) < WAITING_AT_MOST
            and self._of_domain[observation.domain] < WAITING_OF_ONE
        ):
            self._waiting[observation] = _Tally(count, first, last)
            self._of_domain[observation.domain] += 1
            self._woken.set()
        else:
            self.dropped += count

    async def _flush(self) -> None:
        """Store what waits; where that fails it waits on, and is tried again with the next."""
        self._woken.clear()
        waiting, self._waiting = self._waiting, {}
        self._of_domain.clear()
        if not waiting:
            return
        batch = [Seen(one, t.count, t.first, t.last) for one, t in waiting.items()]
        try:
            new = await self._store.add(batch)
        except Exception as error:  # observing must live on, whatever one batch met
            for one in batch:
                self._gather(one.observation, one.count, one.first, one.last)
            if not self._failing:
                log.error(
                    "observations wait to be stored: %s",
                    error,
                    exc_info=not isinstance(error, StoreFailed),
                )
            self._failing = True
            return
        if self._failing:
            log.info("observations are stored again")
        self._failing = False
        self._tell(new)

    def _tell(self, new: Sequence[Observation]) -> None:
        if new:
            try:
                self.on_new(new[:TOLD_AT_MOST])
            except Exception:  # they are stored, whoever could not be told
                log.exception("new observations could not be announced")
