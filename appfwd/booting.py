"""Keeps the file that the next boot loads before the daemon is there.

It is never looser than what is asked for: it is gone, durably, before the first step of any change,
and comes again only from a state that was read back, verified and stored, some seconds after the
last change. Without the file a boot waits for the daemon, as it would without all this.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from appfwd.core.boot import boot_commands, state_at_boot
from appfwd.core.machine import Machine
from appfwd.core.plan import Snapshot
from appfwd.core.pool import assigned
from appfwd.core.table import Table
from appfwd.errors import AppfwdError
from appfwd.kernel import Kernel
from appfwd.kernel.compiling import Compiling
from appfwd.model.slots import switch_name
from appfwd.model.state import DesiredState
from appfwd.ports import BootFiles
from appfwd.turns import Aside

log = logging.getLogger(__name__)

#: Seconds of rest before the file is written, so that a row of changes costs one writing.
_REST = 5.0
#: Booleans that one variable of the environment surely has room for (128 KiB, execve(2)).
_BOOLEANS_AT_MOST = 500


class NextBoot:
    """Removes the file when a change begins, and writes it when things have come to rest."""

    def __init__(self, kernel: Kernel, files: BootFiles, rest: float = _REST) -> None:
        self._kernel, self._files, self._rest = kernel, files, rest
        self._aside = Aside("boot")
        self._changed = asyncio.Event()
        #: What is in force and stored, and the next boot does not know yet.
        self._state: DesiredState | None = None
        #: How many changes began.
        self._begun = 0

    async def changing(self) -> None:
        """Remove the file, since a change begins; it is off the disk when this returns.

        Raises:
            StoreFailed: it could not be removed.

        """
        self._begun += 1
        self._state = None
        await self._files.remove()

    def settled(self, state: DesiredState) -> None:
        """Say that ``state`` is in force, verified and stored."""
        self._state = state
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._changed.wait()
            try:
                while True:
                    self._changed.clear()
                    async with asyncio.timeout(self._rest):
                        await self._changed.wait()
            except TimeoutError:
                await self.finish()

    async def finish(self) -> None:
        """Write what waits now."""
        state, self._state = self._state, None
        if state is None:
            return
        try:
            await self._write(state)
        except AppfwdError as error:
            log.warning("the next boot will wait for the daemon: %s", error)

    async def _write(self, state: DesiredState) -> None:
        begun, verified = self._begun, self._kernel.verified()
        if verified is None:
            return

        def holds() -> bool:
            # That flows keep their labels since is no difference.
            return self._begun == begun and self._kernel.verified() == verified

        table = await self._aside.run(_table, state, *verified)
        commands = await self._aside.run(boot_commands, table)
        booleans = _booleans(table, verified[1])
        if commands and len(booleans) <= _BOOLEANS_AT_MOST:
            await self._files.write(commands, booleans, holds)
        elif holds():
            await self._files.remove()


def _booleans(table: Table, snapshot: Snapshot) -> Mapping[str, bool]:
    """Return those that are on of slots that a table names; all are off after a boot."""
    on, named = snapshot.module.on, table.packet_types("")
    return {switch_name(slot, d): True for slot in on.keys() & named for d in on[slot]}


def _table(state: DesiredState, machine: Machine, snapshot: Snapshot) -> Table:
    """Return the table that the next boot may load; an empty one where there is none."""
    wanted = state_at_boot(state)
    if wanted is None or snapshot.table is None:
        return Table()
    if wanted is state:
        return snapshot.table
    compiled = Compiling().next(wanted, machine)
    artefacts = assigned(compiled, snapshot, machine.contexts, anew=False)
    if not snapshot.module.covers(artefacts.module):
        log.debug("without the grants that end, the table needs a type that is not loaded")
        return Table()
    return artefacts.table
