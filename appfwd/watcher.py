"""Reacts to what others do to the kernel: policy loads, booleans, nftables.

Announcements only wake it; what it then does is read the kernel and make it what it should be,
so a lost, doubled or forged announcement costs time and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from appfwd.core.work import Work
from appfwd.errors import AppfwdError
from appfwd.kernel import Kernel
from appfwd.reconciler import Reconciler

log = logging.getLogger(__name__)

#: Seconds that announcements are gathered for, so that a burst of them costs one reading.
_GATHER = 0.2


class Watcher:
    """Keeps the kernel as it should be while others change it."""

    def __init__(
        self,
        reconciler: Reconciler,
        kernel: Kernel,
        *,
        told: Callable[[], None],
        repaired: Callable[[Work], None] = lambda _work: None,
        gather: float = _GATHER,
    ) -> None:
        self._reconciler, self._kernel = reconciler, kernel
        self._told, self._repaired, self._gather = told, repaired, gather
        self._policy, self._tables = asyncio.Event(), asyncio.Event()

    def policy_changed(self) -> None:
        """Say that the policy, a boolean or enforcing may have changed."""
        self._policy.set()

    def tables_changed(self) -> None:
        """Say that another process may have changed nftables."""
        self._tables.set()

    async def run(self) -> None:
        """React until cancelled."""
        self._tables.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._on(self._policy, self._look_at_policy))
            tasks.create_task(self._on(self._tables, self._look_at_tables))

    async def _on(self, event: asyncio.Event, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await event.wait()
            await asyncio.sleep(self._gather)
            event.clear()
            try:
                await act()
            except AppfwdError as error:
                log.error("after a change by others: %s", error)
            self._told()

    async def _look_at_policy(self) -> None:
        if not self._kernel.settled():
            await self._reconciler.refresh()
            work = await self._kernel.work()
            if work is not None:
                log.warning("after a change of policy by others: %s", work.text)
                self._repaired(work)

    async def _look_at_tables(self) -> None:
        before = self._kernel.rivals
        await self._kernel.look_for_rivals()
        for rival in sorted(set(self._kernel.rivals) - set(before)):
            log.warning("%s labels packets too, and can undo appfwd's labels", rival)
