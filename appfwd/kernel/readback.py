"""What the kernel has of ours: the whole, or just what a transaction touched."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from appfwd.core.listing import NotOurs, decode_table, is_orphan
from appfwd.core.machine import Machine
from appfwd.core.module import is_current, is_installed, loaded_module
from appfwd.core.nft import same_maps, same_shape, touched
from appfwd.core.plan import ApplyTable, SetBooleans, Snapshot, Step
from appfwd.core.table import Table
from appfwd.ports import Elements, Nft
from appfwd.turns import Aside

log = logging.getLogger(__name__)

#: Points that are read back one by one at the most; of more, the whole table is listed.
_POINTS_AT_MOST = 64


def snapshot_of(listing: Sequence[Mapping[str, Any]], machine: Machine) -> Snapshot:
    """Return what a listing and the loaded policy say of ours."""
    table: Table | None = Table()
    if listing:
        try:
            table = decode_table(listing)
        except NotOurs as difference:
            log.warning("the table inet appfwd is not as appfwd makes it: %s", difference)
            table = None
    module = loaded_module(machine.policy, machine.contexts)
    installed, current = is_installed(machine.policy), is_current(machine.policy)
    return Snapshot(module, table, bool(listing), is_orphan(listing), installed, current)


class ReadBack:
    """Reads back what was written to a table whose other parts are known."""

    def __init__(self, nft: Nft, elements: Elements, aside: Aside) -> None:
        self._nft, self._elements, self._aside = nft, elements, aside

    async def is_there(self, steps: Sequence[Step], wanted: Table) -> bool:
        """Tell whether what was changed reads back as written; False where that takes a listing.

        What else the table has was read after the last change, and nobody else can write to it.

        Raises:
            TableFailed: the kernel did not answer.

        """
        # Booleans are verified by asking the policy.
        (step,) = steps[-1:] if isinstance(steps[0], SetBooleans) or len(steps) == 1 else (None,)
        changed = touched(step.commands) if isinstance(step, ApplyTable) else None
        if changed is None or changed.count > _POINTS_AT_MOST:
            return False
        if changed.shape and not await self.has_shape(wanted):
            return False
        if changed.maps and not await self._has_maps(changed.maps, wanted):
            return False
        for name, rows in changed.points.items():
            found = await self._elements.labels(name, [key for key, _ in rows])
            if [*found] != [label for _, label in rows]:
                log.warning("a point of %s is not as it was written", name)
                return False
        return True

    async def has_shape(self, wanted: Table) -> bool:
        """Tell whether a table is as wanted, elements aside. Raises TableFailed."""
        try:
            listing = await self._nft.list_table(terse=True)
            return same_shape(await self._aside.run(decode_table, listing), wanted)
        except NotOurs:
            return False

    async def _has_maps(self, names: Collection[str], wanted: Table) -> bool:
        try:
            found = await self._aside.run(decode_table, await self._nft.list_maps(names))
        except NotOurs:
            return False
        return await self._aside.run(same_maps, found, wanted, names)
