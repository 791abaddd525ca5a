"""Gathers what the kernel's records tell of unlabelled traffic, and stores it now and then.

A record costs a look into a dictionary; the store is written once a second, however many there are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from appfwd.core.avc import observation_of, parse_packet_record
from appfwd.errors import AppfwdError, StoreFailed
from appfwd.model.observation import Observation, Seen
from appfwd.ports import Observations

log = logging.getLogger(__name__)

#: Different observations that wait to be stored; records of more are dropped.
WAITING_AT_MOST = 4_096
#: New observations that are told of at once.
TOLD_AT_MOST = 256


Heard = Callable[[Sequence[str]], None]
Lost = Callable[[], None]


class Ears(Protocol):
    """What hears records, and calls whoever was given to it."""

    def close(self) -> None:
        """Hear no more."""
        ...


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


class Observer:
    """Turns records into observations in a store.

    ``now`` gives Unix time, ``flush_after`` is how long records are gathered for, in seconds.
    ``lost`` counts how often records were lost before they came here, ``dropped`` the records that
    found too many different observations waiting. ``on_new`` is called with observations that the
    store did not have before, at most :data:`TOLD_AT_MOST` at once.
    """

    def __init__(
        self,
        store: Observations,
        now: Callable[[], float] = time.time,
        flush_after: float = 1.0,
    ) -> None:
        self._store, self._now, self._flush_after = store, now, flush_after
        self._waiting: dict[Observation, _Tally] = {}
        self._woken = asyncio.Event()
        self._storing = asyncio.Lock()
        self._failing = False
        self._ears: Ears | None = None
        #: Why nothing is heard though it should be, as a sentence; empty where all is well.
        self.deaf = ""
        self.lost = 0
        self.dropped = 0
        self.on_new: Callable[[Sequence[Observation]], None] = lambda _new: None

    def listen(self, ears: Callable[[Heard, Lost], Ears] | None) -> None:
        """Hear records through what ``ears`` opens, or go on hearing; None: hear no more."""
        if ears is None:
            if self._ears is not None:
                self._ears.close()
            self._ears, self.deaf = None, ""
        elif self._ears is None:
            try:
                self._ears, self.deaf = ears(self.heard, self.missed), ""
            except AppfwdError as error:
                self.deaf = f"Nothing is observed: {error}"
                log.error("%s", self.deaf)

    def heard(self, texts: Sequence[str]) -> None:
        """Take the texts of records; those that tell of no unlabelled traffic are passed by."""
        now = self._now()
        for text in texts:
            record = parse_packet_record(text)
            observation = None if record is None else observation_of(record)
            if record is not None and observation is not None:
                # A time to come, from before the clock was set back, would be kept longest.
                when = min(record.time, now)
                self._gather(observation, 1, when, when)

    def missed(self) -> None:
        """Say that records were lost on their way here."""
        self.lost += 1

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
                self._waiting.pop(one, None)
            return await self._store.forget(observations)

    def _gather(self, observation: Observation, count: int, first: float, last: float) -> None:
        tally = self._waiting.get(observation)
        if tally is not None:
            tally.add(count, first, last)
        elif len(self._waiting) < WAITING_AT_MOST:
            self._waiting[observation] = _Tally(count, first, last)
            self._woken.set()
        else:
            self.dropped += count

    async def _flush(self) -> None:
        """Store what waits; where that fails it waits on, and is tried again with the next."""
        self._woken.clear()
        waiting, self._waiting = self._waiting, {}
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
