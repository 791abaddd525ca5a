"""What the daemon remembers of slots: which a table named a moment ago."""

from __future__ import annotations

import time
from collections.abc import Callable

from appfwd.core.table import Table
from appfwd.model.slots import is_slot

#: Seconds for which no other audience gets a slot that the table has let go: packets that are under
#: way may carry its label.
REST = 10.0


class Resting:
    """The slots that no other audience may get yet."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Before that, another process may have had any.
        self._born = clock()
        self._let_go: dict[str, float] = {}

    def note(self, before: Table | None, after: Table) -> None:
        """Take note of a transaction."""
        if before is None:
            self._born = self._clock()
            return
        if before.contexts is after.contexts:
            return
        for slot in _named(before) - _named(after):
            self._let_go[slot] = self._clock()

    def of(self, slots: frozenset[str]) -> frozenset[str]:
        """Return those of ``slots`` that rest now."""
        since = self._clock() - REST
        return frozenset(s for s in slots if self._let_go.get(s, self._born) > since)


def _named(table: Table) -> frozenset[str]:
    return frozenset(filter(is_slot, map(table.type_of, table.contexts)))
