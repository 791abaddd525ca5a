"""What a change costs with many grants held, by stage; and how long it takes to have them back.

The grants are of services of hosts within a guarded network, so each is a point of its own. A
change is a call over one connection, from call to reply, so that no start of a program is
measured; the stages are what the daemon's debug log says of each change.
"""

import json
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tests.guest.firewall import Firewall, installed_snapshot
from tests.guest.lab.guest import Guest
from tests.guest.lab.store import base_snapshot, restore

HELD = (0, 1_000, 10_000)
ROUNDS, CALLERS, EACH = 30, (1, 10, 100), 2
NETWORK, DOMAIN, OTHER = "10.0.0.0/8", "mozilla_t", "chromium_t"
SECONDS = 1800.0
#: A daemon that says what each stage took.
UNIT = "[Service]\nExecStart=\nExecStart=/usr/sbin/appfwd --verbose\nTimeoutStartSec=1800\n"
_STAGE = re.compile(r"(\w+) ([0-9.]+) ms")
_CALLS = """
import asyncio, json, sys, time
sys.path.insert(0, "/usr/lib/python3/dist-packages")
from appfwd.bus.client import Client

async def timed(client, took, kind, *arguments):
    begun = time.monotonic()
    await client.call(kind, *arguments, {})
    took.setdefault(kind.lower(), []).append(time.monotonic() - begun)

async def main(domain, rounds, callers, each):
    client = await Client.connect()
    await client.properties()
    took, rates = {}, {}
    for number in range(rounds + 3):
        place = f"10.255.0.{number}:443/tcp"
        if number == 3:  # those before load whatever is loaded once
            took.clear()
        await timed(client, took, "Guard", place)
        await timed(client, took, "Grant", domain, place)
        await timed(client, took, "Revoke", domain, place)
        await timed(client, took, "Unguard", place)

    async def caller(number):
        for one in range(each):
            await client.call("Grant", domain, f"10.254.{number}.{one}:443/tcp", {})
            await client.call("Revoke", domain, f"10.254.{number}.{one}:443/tcp", {})

    for count in callers:
        begun = time.monotonic()
        await asyncio.gather(*(caller(number) for number in range(count)))
        rates[count] = 2 * each * count / (time.monotonic() - begun)
    print(json.dumps([took, rates]))

asyncio.run(main(*json.loads(sys.argv[1])))
"""


class Sample(NamedTuple):
    """What was measured with some grants held."""

    seconds: Mapping[str, Sequence[float]]
    per_second: Mapping[str, float]
    stages: Mapping[str, float]
    apply_s: float
    restore_s: float
    rss_mb: float
    cpu_s: float


def measure(held: Sequence[int] = HELD) -> dict[int, Sample]:
    """Return what was measured, by the number of grants held."""
    samples: dict[int, Sample] = {}
    with restore(installed_snapshot(base_snapshot())) as guest:
        guest.run("mkdir -p /etc/systemd/system/appfwd.service.d", check=True)
        guest.write("/etc/systemd/system/appfwd.service.d/bench.conf", UNIT.encode())
        guest.run("systemctl daemon-reload", check=True)
        Firewall(guest).restart()
        for count in held:
            samples[count] = _sample(guest, count)
    return samples


def _sample(guest: Guest, count: int) -> Sample:
    places = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:{1 + n % 1000}/tcp" for n in range(count)]
    document = f'[[guard]]\ndestination = "{NETWORK}"\n'
    # A domain that is known, as most are.
    document += f'\n[[grant]]\ndomain = "{OTHER}"\ndestination = "10.253.0.1:443/tcp"\n'
    if places:
        document += f'\n[[grant]]\ndomain = "{DOMAIN}"\ndestination = {json.dumps(places)}\n'
    guest.write("/root/held.toml", document.encode())
    applied = _seconds(guest, "appfwctl apply --yes /root/held.toml")
    restored = _seconds(guest, "systemctl restart appfwd")
    arguments = json.dumps([OTHER, ROUNDS, CALLERS, EACH])
    before = guest.run("date +%s.%N", check=True).out.strip()
    said = guest.run(["python3", "-c", _CALLS, arguments], check=True, timeout=SECONDS).out
    took, rates = json.loads(said)
    time.sleep(2)
    cpu = _idle_cpu(guest)
    return Sample(took, rates, _stages(guest, before), applied, restored, _rss(guest), cpu)


def _seconds(guest: Guest, command: str) -> float:
    return guest.run(command, check=True, timeout=SECONDS).seconds


def _stages(guest: Guest, since: str) -> dict[str, float]:
    """Return the median milliseconds of each stage of the changes made alone."""
    found: dict[str, list[float]] = {}
    words = f"journalctl -u appfwd -o cat --no-pager --since @{since} | grep '^1 changes: '"
    for line in guest.run(words, check=True, timeout=SECONDS).out.splitlines():
        for name, value in _STAGE.findall(line):
            found.setdefault(name, []).append(float(value))
    return {name: statistics.median(values) for name, values in found.items()}


def _rss(guest: Guest) -> float:
    pid = guest.run("systemctl show -P MainPID appfwd", check=True).out.strip()
    line = guest.run(f"grep VmRSS /proc/{pid}/status", check=True).out
    return int(line.split()[1]) / 1024


def _idle_cpu(guest: Guest) -> float:
    """Return the seconds of processor time in 20 s in which nothing happens."""
    command = "systemctl show -P CPUUsageNSec appfwd"
    before = int(guest.run(command, check=True).out)
    time.sleep(20)
    return (int(guest.run(command, check=True).out) - before) / 1e9


def figures(samples: Mapping[int, Sample]) -> dict[str, Any]:
    """Return milliseconds by kind and count, and the rest by count."""
    latency: dict[str, dict[str, dict[str, float]]] = {}
    for count, sample in samples.items():
        for kind, seconds in sample.seconds.items():
            latency.setdefault(kind, {})[str(count)] = {
                "p50": 1e3 * statistics.median(seconds),
                "p99": 1e3 * max(seconds),  # of this few the 99th in a hundred is the last
            }
    most = samples[max(samples)]
    return {
        "latency_ms": latency,
        "stages_ms": {str(n): dict(sample.stages) for n, sample in samples.items()},
        "per_second": most.per_second,
        "apply_s": {str(n): sample.apply_s for n, sample in samples.items()},
        "restore_s": {str(n): sample.restore_s for n, sample in samples.items()},
        "daemon": {
            "rss_mb": {str(n): sample.rss_mb for n, sample in samples.items()},
            "idle_cpu_s_in_20": {str(n): sample.cpu_s for n, sample in samples.items()},
        },
    }


def report(values: Mapping[str, Any]) -> None:
    """Print the table, and how it grows."""
    counts = [*values["restore_s"]]
    print(
        f"{'milliseconds, median (worst); grants held:':44}" + "".join(f"{n:>16}" for n in counts)
    )
    for kind, by_count in values["latency_ms"].items():
        cells = [f"{by_count[n]['p50']:.0f} ({by_count[n]['p99']:.0f})" for n in counts]
        print(f"{kind:44}" + "".join(f"{cell:>16}" for cell in cells))
    for name in values["stages_ms"][counts[-1]]:
        cells = [f"{values['stages_ms'][n].get(name, 0):.1f}" for n in counts]
        print(f"{'  of it: ' + name:44}" + "".join(f"{cell:>16}" for cell in cells))
    daemon = values["daemon"]
    for title, row in (
        ("seconds to apply them as one document", values["apply_s"]),
        ("seconds from restart to READY", values["restore_s"]),
        ("the daemon's resident memory, MB", daemon["rss_mb"]),
        ("its processor seconds in 20 idle ones", daemon["idle_cpu_s_in_20"]),
    ):
        print(f"{title:44}" + "".join(f"{row[n]:>16.2f}" for n in counts))
    first, last = (values["latency_ms"]["grant"][n]["p50"] for n in (counts[0], counts[-1]))
    print(f"a grant with {counts[-1]} held takes {last / first:.2f} times as long as with none")
    for callers, rate in values["per_second"].items():
        print(f"{callers} callers: {rate:.0f} changes a second")
