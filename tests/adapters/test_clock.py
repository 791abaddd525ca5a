"""The clock of trials: which boot, and how long it has lasted."""

from __future__ import annotations

import time
from pathlib import Path

from appfwd.adapters.clock import BootClock
from appfwd.model.ends import Session


def test_it_tells_this_boot_and_goes_on() -> None:
    opened = frozenset({Session("3", 5)})
    clock = BootClock(lambda: opened)
    first, second = clock(), clock()
    assert first.boot == second.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert first.sessions == opened
    assert 0 <= second.seconds - first.seconds < 60
    assert abs(first.seconds - float(Path("/proc/uptime").read_text().split()[0])) < 60
    assert first.seconds >= time.monotonic() - 60
