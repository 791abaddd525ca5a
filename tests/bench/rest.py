"""The daemon itself: from start to READY with nothing held, its memory, and what it does at rest.

At rest is with a guard and a grant, so that it listens to the kernel; what it does once after a
change is over. A switch is any of any thread of it, by choice or not.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.guest.firewall import SECONDS, Firewall, installed_snapshot
from tests.guest.lab.guest import Guest
from tests.guest.lab.store import base_snapshot, restore
from tests.guest.place import PLACE, only_mozilla

ROUNDS, QUIET, REST = 5, 15.0, 20.0
_SWITCHES = (
    "cat /proc/$(systemctl show -P MainPID appfwd)/task/*/status"
    " | awk '/ctxt_switches/ { all += $2 } END { print all; }'; date +%s.%N"
)
_CPU = "systemctl show -P CPUUsageNSec appfwd"


class Sample(NamedTuple):
    """Seconds of each start, MB, switches a second of rest, processor seconds of all of it."""

    starts: Sequence[float]
    rss_mb: float
    switches: float
    cpu: float


def measure() -> Sample:
    """Return what was measured."""
    with restore(installed_snapshot(base_snapshot())) as guest:
        firewall = Firewall(guest)
        starts = [_start(guest) for _ in range(ROUNDS)]
        time.sleep(QUIET)
        rss = _rss(guest)
        only_mozilla(firewall)
        time.sleep(QUIET)
        switches, cpu = _rest(guest)
        firewall.revoke("mozilla_t", PLACE)
    return Sample(starts, rss, switches, cpu)


def figures(sample: Sample) -> dict[str, float]:
    """Return the figures; of the starts the median."""
    return {
        "ready_s": statistics.median(sample.starts),
        "rss_mb": sample.rss_mb,
        "idle_wakeups_s": sample.switches,
        "idle_cpu_s_in_20": sample.cpu,
    }


def _start(guest: Guest) -> float:
    guest.run("systemctl stop appfwd; systemctl reset-failed appfwd", timeout=SECONDS)
    return guest.run("systemctl start appfwd", check=True, timeout=SECONDS).seconds


def _rss(guest: Guest) -> float:
    words = "grep VmRSS /proc/$(systemctl show -P MainPID appfwd)/status"
    return int(guest.run(words, check=True).out.split()[1]) / 1024


def _rest(guest: Guest) -> tuple[float, float]:
    """Return switches a second, and seconds of processor time, of a time of rest."""
    cpu = int(guest.run(_CPU, check=True).out)
    switches, begun = map(float, guest.run(_SWITCHES, check=True).out.split())
    time.sleep(REST)
    after, ended = map(float, guest.run(_SWITCHES, check=True).out.split())
    cpu = int(guest.run(_CPU, check=True).out) - cpu
    return (after - switches) / (ended - begun), cpu / 1e9


def report(values: Mapping[str, float]) -> None:
    """Print them."""
    print(f"the daemon, nothing held: READY after {values['ready_s']:.2f} s")
    print(f"  resident memory {values['rss_mb']:.0f} MB")
    print(f"at rest, a guard and a grant held: {values['idle_wakeups_s']:.2f} switches a second")
    print(f"  and {values['idle_cpu_s_in_20']:.3f} s of processor time in {REST:.0f} s")
