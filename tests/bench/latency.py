"""What a change costs with many grants held, by stage; and how long it takes to have them back.

The grants are of services of hosts within a guarded network, so each is a point of its own. A
change is a call over one connection, from call to reply, so that no start of a program is measured
(`read` reads the properties and asks polkit nothing; `join` is a grant that makes a new audience,
and so commits booleans). It is in force when the kernel tells of its transaction, before it is read
back, stored and told. The stages are what the daemon's debug log says of each change.
$APPFWD_BENCH_HELD has the numbers of grants, with commas.
"""

import json
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from tests.guest.firewall import WARM, Firewall, installed_snapshot
from tests.guest.lab.guest import Guest
from tests.guest.lab.store import base_snapshot, restore

from .guests import THERE, ask, bring, words_of
from .samples import milliseconds

VARIABLE, HELD = "APPFWD_BENCH_HELD", "0,1000,10000,100000"
#: With more held, changes by many at once are not measured.
RATED_AT_MOST = 10_000
ROUNDS, CALLERS, EACH = 100, (1, 10, 100), 2
#: New audiences with each number of grants: none twice, since a slot keeps its users for a while.
JOINS = 5
#: Enough for four numbers of grants.
PAIRS = tuple(combinations(WARM, 2))
NETWORK, DOMAIN, OTHER = "10.0.0.0/8", "mozilla_t", "chromium_t"
SECONDS = 3600.0
#: A daemon that says what each stage took, and is waited for.
UNIT = (
    f"[Service]\nExecStart=\nExecStart=/usr/sbin/appfwd --verbose\nTimeoutStartSec={SECONDS:.0f}\n"
)
BOOLEANS = "booleans"
_STAGE = re.compile(r"(\w+) ([0-9.]+) ms")


class Sample(NamedTuple):
    """What was measured with some grants held."""

    seconds: Mapping[str, Sequence[float]]
    in_force: Mapping[str, Sequence[float]]
    per_second: Mapping[str, float]
    stages: Mapping[str, float]
    adopt_stages: Mapping[str, float]
    apply_s: float
    restore_s: float
    adopt_s: float
    rss_mb: float
    peak_mb: float


def counts() -> tuple[int, ...]:
    """Return the numbers of grants that are asked for, from the least."""
    return tuple(sorted(map(int, os.environ.get(VARIABLE, HELD).split(","))))


def measure() -> dict[int, Sample]:
    """Return what was measured, by the number of grants held."""
    held = counts()
    with restore(installed_snapshot(base_snapshot())) as guest:
        guest.run("mkdir -p /etc/systemd/system/appfwd.service.d", check=True)
        guest.write("/etc/systemd/system/appfwd.service.d/bench.conf", UNIT.encode())
        guest.run("systemctl daemon-reload", check=True)
        Firewall(guest).restart()
        rated = max((count for count in held if count <= RATED_AT_MOST), default=None)
        return {
            count: _sample(
                guest, count, PAIRS[JOINS * n : JOINS * (n + 1)], CALLERS if count == rated else ()
            )
            for n, count in enumerate(held)
        }


def document(count: int) -> str:
    """Return the document that has so many grants."""
    places = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:{1 + n % 1000}/tcp" for n in range(count)]
    text = f'[[guard]]\ndestination = "{NETWORK}"\n'
    # A domain that is known, as most are.
    text += f'\n[[grant]]\ndomain = "{OTHER}"\ndestination = "10.253.0.1:443/tcp"\n'
    if places:
        text += f'\n[[grant]]\ndomain = "{DOMAIN}"\ndestination = {json.dumps(places)}\n'
    return text


def _sample(
    guest: Guest, count: int, pairs: Sequence[tuple[str, str]], callers: Sequence[int]
) -> Sample:
    guest.write("/root/held.toml", document(count).encode())
    bring(guest)
    applied = _seconds(guest, words_of("patient", "apply", "--yes", "/root/held.toml"))
    peak = _memory(guest, "VmHWM")
    guest.run("systemctl stop appfwd", check=True, timeout=SECONDS)
    guest.run("nft delete table inet appfwd", check=True, timeout=SECONDS)
    restored = _seconds(guest, ["systemctl", "start", "appfwd"])
    peak = max(peak, _memory(guest, "VmHWM"))
    before = _now(guest)
    adopted = _seconds(guest, ["systemctl", "restart", "appfwd"])
    adopting = _stages(guest, "restored", before)
    before = _now(guest)
    took, in_force, rates = ask(
        guest, "calls", OTHER, ROUNDS, pairs, callers, EACH, seconds=SECONDS
    )
    rss, peak = _memory(guest, "VmRSS"), max(peak, _memory(guest, "VmHWM"))
    stages = _stages(guest, "1 changes", before)
    return Sample(took, in_force, rates, stages, adopting, applied, restored, adopted, rss, peak)


def _seconds(guest: Guest, words: Sequence[str]) -> float:
    return guest.run(words, check=True, timeout=SECONDS, cwd=THERE).seconds


def _now(guest: Guest) -> str:
    return guest.run("date +%s.%N", check=True).out.strip()


def _stages(guest: Guest, title: str, since: str) -> dict[str, float]:
    """Return the median milliseconds of each stage that the log tells of under a title."""
    found: dict[str, list[float]] = {}
    words = f"journalctl -u appfwd -o cat --no-pager --since @{since} | grep '^{title}: '"
    for line in guest.run(words, check=True, timeout=SECONDS).out.splitlines():
        for name, value in _STAGE.findall(line):
            found.setdefault(name, []).append(float(value))
    return {name: statistics.median(values) for name, values in found.items()}


def _memory(guest: Guest, which: str) -> float:
    pid = guest.run("systemctl show -P MainPID appfwd", check=True).out.strip()
    line = guest.run(f"grep {which} /proc/{pid}/status", check=True).out
    return int(line.split()[1]) / 1024


def figures(samples: Mapping[int, Sample]) -> dict[str, Any]:
    """Return milliseconds by kind and count, and the rest by count."""
    by_count = {str(count): sample for count, sample in samples.items()}
    return {
        "latency_ms": by_kind({n: sample.seconds for n, sample in by_count.items()}),
        "in_force_ms": by_kind({n: sample.in_force for n, sample in by_count.items()}),
        "stages_ms": {n: dict(sample.stages) for n, sample in by_count.items()},
        "per_second": {n: r for sample in samples.values() for n, r in sample.per_second.items()},
        "apply_s": {n: sample.apply_s for n, sample in by_count.items()},
        "restore_s": {n: sample.restore_s for n, sample in by_count.items()},
        "adopt_stages_ms": {n: dict(sample.adopt_stages) for n, sample in by_count.items()},
        "adopt_s": {n: sample.adopt_s for n, sample in by_count.items()},
        "memory_mb": {
            n: {"rss": sample.rss_mb, "peak": sample.peak_mb} for n, sample in by_count.items()
        },
    }


def by_kind(
    samples: Mapping[str, Mapping[str, Sequence[float]]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Return milliseconds by kind and count, of seconds by count and kind."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for count, kinds in samples.items():
        for kind, seconds in kinds.items():
            found.setdefault(kind, {})[count] = milliseconds(seconds)
    return found


def print_kinds(kinds: Mapping[str, Mapping[str, Mapping[str, float]]], words: str) -> None:
    """Print a row for each kind, with a cell for each count."""
    for kind, by_count in kinds.items():
        cells = [
            f"{one['p50']:.1f} ({one.get('p99', one['max']):.1f})" for one in by_count.values()
        ]
        print(f"{words.format(kind):50}" + "".join(f"{cell:>16}" for cell in cells))


def report(values: Mapping[str, Any]) -> None:
    """Print the table, and how it grows."""
    held = [*values["restore_s"]]
    title = "milliseconds, median (99th of 100, or worst); held:"
    print(f"{title:50}" + "".join(f"{n:>16}" for n in held))
    print_kinds(values["in_force_ms"], "{} in force")
    print_kinds(values["latency_ms"], "{}'s reply")
    stages = {n: _of_grant(values["stages_ms"][n]) for n in held}
    for name in stages[held[-1]]:
        cells = [_share(stages[n], name) for n in held]
        print(f"{'  of it: ' + name:50}" + "".join(f"{cell:>16}" for cell in cells))
    cells = [_others(values, n) for n in held]
    print(f"{'  of it: bus, polkit, both ends':50}" + "".join(f"{cell:>16}" for cell in cells))
    cells = [f"{values['stages_ms'][n].get(BOOLEANS, 0):.1f}" for n in held]
    print(f"{'  of a join: booleans':50}" + "".join(f"{cell:>16}" for cell in cells))
    memory = values["memory_mb"]
    for title, row in (
        ("seconds to apply them as one document", values["apply_s"]),
        ("seconds from start to READY, no table there", values["restore_s"]),
        ("seconds from restart to READY, the table there", values["adopt_s"]),
        ("the daemon's resident memory, MB", {n: memory[n]["rss"] for n in held}),
        ("the most that any of this took, MB", {n: memory[n]["peak"] for n in held}),
    ):
        cells = [f"{row[n]:.2f}" for n in held]
        print(f"{title:50}" + "".join(f"{cell:>16}" for cell in cells))
    print(f"of the restart with {held[-1]} held, seconds:")
    for name, one in values["adopt_stages_ms"][held[-1]].items():
        print(f"  {name} {one / 1e3:.2f}")
    grants = values["latency_ms"]["grant"]
    for n in held[1:]:
        times = grants[n]["p50"] / grants[held[0]]["p50"]
        print(f"a grant with {n} held takes {times:.2f} times as long as with {held[0]}")
    for callers, rate in values["per_second"].items():
        print(f"{callers} callers at once: {rate:.0f} changes a second")


def _others(values: Mapping[str, Any], count: str) -> str:
    """Return what a grant takes beyond the stages."""
    whole = values["latency_ms"]["grant"][count]["p50"]
    return f"{whole - sum(_of_grant(values['stages_ms'][count]).values()):.1f}"


def _of_grant(stages: Mapping[str, float]) -> Mapping[str, float]:
    """Return the stages of every change: booleans are committed for new audiences alone."""
    return {name: one for name, one in stages.items() if name != BOOLEANS}


def _share(stages: Mapping[str, float], name: str) -> str:
    """Return a stage's milliseconds, and which part of all stages it is."""
    one = stages.get(name, 0.0)
    return f"{one:.1f} ({100 * one / sum(stages.values()):.0f} %)"
