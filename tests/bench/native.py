"""The same changes outside the guest, at the machine's own speed.

The bus, polkit, the daemon's process and its store are real, and dbus-next is at both ends; the
kernel's side is a stand-in, which takes next to no time. So this is the part that is ours, and an
emulated processor stretches most. What libnftables takes beside it, `changes` measures.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any
from unittest.mock import patch

from tests.bus.daemon import NEXT, use
from tests.bus.running import Daemon, daemon
from tests.bus.world import world

from .latency import NETWORK, by_kind, counts, print_kinds

ROUNDS = 200
DOMAIN, OTHER = "mozilla_t", "squid_t"
#: More are not worth the wait: the stand-in takes them one by one.
AT_MOST = 10_000

Seconds = Mapping[str, Sequence[float]]


class Commits:
    """When transactions were done, by the stand-in's own word."""

    def __init__(self, running: Daemon) -> None:
        self._daemon = running

    def last(self, begun: float, end: float) -> float:
        """Return when the last one within a time was done."""
        commits: list[float] = self._daemon.tell("commits")
        return max(at for at in commits if begun < at <= end)


def measure() -> dict[int, tuple[Seconds, Seconds]]:
    """Return the seconds to each reply, and until it was in force, by grants held."""
    use(NEXT)
    return {held: _sample(held) for held in counts() if held <= AT_MOST}


def _sample(held: int) -> tuple[Seconds, Seconds]:
    from appfwd.bus.client import Client  # noqa: PLC0415 - after the choice of library

    from .inside.calls import rounds  # noqa: PLC0415 - after the choice of library

    async def work(commits: Commits) -> tuple[Seconds, Seconds]:
        return await rounds(await Client.connect(), OTHER, ROUNDS, commits)

    with world() as bus, daemon(bus, NEXT) as running:
        grants = [(DOMAIN, f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:443/tcp") for n in range(held)]
        # Both domains are known, and held or not the maps are there.
        known = [(DOMAIN, "10.253.0.1:443/tcp"), (OTHER, "10.253.0.2:443/tcp")]
        running.tell("fill", guards=[NETWORK], grants=[*known, *grants])
        with patch.dict(os.environ, bus.environment):
            return asyncio.run(work(Commits(running)))


def figures(samples: Mapping[int, tuple[Seconds, Seconds]]) -> dict[str, Any]:
    """Return milliseconds by kind and count."""
    return {
        "reply_ms": by_kind({str(held): replied for held, (replied, _) in samples.items()}),
        "in_force_ms": by_kind({str(held): force for held, (_, force) in samples.items()}),
    }


def report(values: Mapping[str, Any]) -> None:
    """Print the table."""
    grants = values["in_force_ms"]["grant"]
    title = f"milliseconds, median (99th of {ROUNDS}); grants held:"
    print(f"{title:50}" + "".join(f"{held:>16}" for held in grants))
    print_kinds(values["in_force_ms"], "{} in force")
    print_kinds(values["reply_ms"], "{}'s reply")
    for held, row in grants.items():
        times = row["p50"] / values["reply_ms"]["read"][held]["p50"]
        print(f"with {held} held a grant is in force after {times:.1f} times a property's reading")
