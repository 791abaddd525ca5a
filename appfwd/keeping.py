"""Has flows keep their labels once the table has come to rest; see appfwd.core.keeping.

A change never waits for it, and a burst of changes pays for it once: the first of them ends the
epoch in its own transaction. A daemon that is killed in between leaves a table that looks every
packet up; the next one has flows keep their labels again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from appfwd.core.keeping import number_at
from appfwd.errors import AppfwdError
from appfwd.kernel import Kernel
from appfwd.reconciler import Reconciler

log = logging.getLogger(__name__)

#: Seconds without a change after which an epoch begins.
_QUIET = 1.0


class Keeper:
    """Begins an epoch after each change; ``uptime`` is the time since the machine was booted."""

    def __init__(
        self,
        reconciler: Reconciler,
        kernel: Kernel,
        uptime: Callable[[], float],
        quiet: float = _QUIET,
    ) -> None:
        self._reconciler, self._kernel = reconciler, kernel
        self._uptime, self._quiet = uptime, quiet
        # Whoever was here before us may have begun one at this very moment.
        self._last = number_at(uptime())

    async def run(self) -> None:
        """Begin epochs until cancelled, or until there are no more numbers."""
        changed = self._kernel.at_rest
        while True:
            await changed.wait()
            changed.clear()
            await asyncio.sleep(self._quiet)
            if changed.is_set():
                continue
            number = number_at(self._uptime())
            if not number:
                log.warning("flows keep no labels any more until the next boot: it is long ago")
                return
            if number == self._last:
                changed.set()
                continue
            async with self._reconciler.resting():
                if not changed.is_set():
                    await self._begin(number)

    async def _begin(self, number: int) -> None:
        self._last = number
        try:
            if await self._kernel.keep(number):
                log.info("flows keep their labels, epoch %d", number)
        except AppfwdError as error:
            log.error("flows do not keep their labels: %s", error)
