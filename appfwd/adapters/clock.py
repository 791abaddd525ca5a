"""The clock that trials are measured by: it goes on in suspend, and nobody sets it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from appfwd.model.ends import Moment, Session

Sessions = Callable[[], frozenset[Session]]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BootClock:
    """Tells which boot this is (random(4)), how long it has lasted, and which sessions are open."""

    def __init__(self, sessions: Sessions, boot_id: Path = _BOOT_ID) -> None:
        self._sessions, self._boot = sessions, boot_id.read_text("ascii").strip()

    def __call__(self) -> Moment:
        """Return now."""
        return Moment(self._boot, uptime(), self._sessions())


def uptime() -> float:
    """Return how long this boot has lasted, in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
