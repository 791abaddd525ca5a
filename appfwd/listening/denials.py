"""Refused packets, from the kernel's records to denials: counted, stored, and handed on.

What is heard waits a moment, so that a storm is worked on in batches: each refusal once, however
often it was heard, and no more of them than fit.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from appfwd.core.avc import PacketRecord
from appfwd.core.denials import Denial, Refusal, denial_of, refusal_of
from appfwd.core.machine import Machine
from appfwd.errors import AppfwdError
from appfwd.listening.gatherer import Gatherer
from appfwd.model.state import Settings

log = logging.getLogger(__name__)

#: Different refusals that wait to be worked on, of all domains and of one.
WAITING_AT_MOST, WAITING_OF_ONE = 2_048, 256
#: Seconds between two batches.
_PAUSE = 0.05


@dataclass(slots=True)
class Times:
    """How often something was refused, when first and last (Unix time), and who ran then."""

    count: int
    first: float
    last: float
    program: str


Batch = Sequence[tuple[Denial, Times]]


class Denials:
    """Turns records of refused packets into denials.

    ``machine`` and ``settings`` give what a denial is known by. ``history`` keeps all denials;
    ``on_denied`` is called with each batch. ``dropped`` counts refusals that found no room.
    """

    def __init__(
        self,
        history: Gatherer,
        machine: Callable[[], Awaitable[Machine]],
        settings: Callable[[], Settings],
    ) -> None:
        self.history = history
        self._machine, self._settings = machine, settings
        self._waiting: dict[Refusal, Times] = {}
        self._of_domain: Counter[str] = Counter()
        self._woken = asyncio.Event()
        self.dropped = 0
        self.on_denied: Callable[[Batch], None] = lambda _batch: None

    def take(self, record: PacketRecord) -> None:
        """Take a record; one of no refusal is passed by."""
        refusal = refusal_of(record)
        if refusal is None:
            return
        times = self._waiting.get(refusal)
        if times is not None:
            times.count += 1
            times.last, times.program = record.time, record.comm
        elif (
            len(self._waiting) < WAITING_AT_MOST
            and self._of_domain[refusal.domain] < WAITING_OF_ONE
        ):
            self._waiting[refusal] = Times(1, record.time, record.time, record.comm)
            self._of_domain[refusal.domain] += 1
            self._woken.set()
        else:
            self.dropped += 1

    async def run(self) -> None:
        """Work on what was heard, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            waiting, self._waiting = self._waiting, {}
            self._of_domain.clear()
            try:
                await self._work(waiting)
            except Exception as error:  # hearing must live on, whatever one batch met
                traced = not isinstance(error, AppfwdError)
                log.error("denials could not be worked on: %s", error, exc_info=traced)
            await asyncio.sleep(_PAUSE)

    async def _work(self, waiting: dict[Refusal, Times]) -> None:
        machine, settings = await self._machine(), self._settings()
        batch = [(denial_of(one, machine, settings), times) for one, times in waiting.items()]
        for denial, times in batch:
            self.history.gather(denial.observation, times.count, times.first, times.last)
        self.on_denied(batch)
