"""The clock that trials are measured by: it goes on in suspend, and nobody sets it."""

from __future__ import annotations

import time
from pathlib import Path

from appfwd.model.ends import Moment

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BootClock:
    """Tells which boot this is (random(4)), and how long it has lasted (CLOCK_BOOTTIME)."""

    def __init__(self, boot_id: Path = _BOOT_ID) -> None:
        self._boot = boot_id.read_text("ascii").strip()

    def __call__(self) -> Moment:
        """Return now."""
        return Moment(self._boot, time.clock_gettime(time.CLOCK_BOOTTIME))
