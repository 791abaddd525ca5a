"""How soon a person is asked: from the kernel's record of a denial to the notification.

And how soon the answer is in force: from its call to its reply, without the start of a command. All
times are of the guest's clock: the record's own, and the journal's of when the agent had the number
of its notification from the server.
"""

import json
import re
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.guest.desktop import Desktop, desktop_snapshot
from tests.guest.firewall import MANAGER, SECONDS, Firewall, installed_snapshot
from tests.guest.lab.store import base_snapshot, restore
from tests.guest.place import HOST

ROUNDS, FIRST = 20, 4000
PATIENCE = 60.0
#: Seconds after a denial in which nothing is looked at: looking takes the guest's processor.
QUIET = 2.0
PROMISED_MS = 200.0
_LINE = re.compile(r"asked (\w+) with notification \d+")
#: Answers over one connection, so that no start of a program is measured.
_ANSWER = """
import asyncio, sys, time
sys.path.insert(0, "/usr/lib/python3/dist-packages")
from appfwd.bus.client import Client

async def main():
    client = await Client.connect()
    await client.properties()
    for identity in sys.argv[1:]:
        begun = time.monotonic()
        await client.call("Answer", identity, "allow", {"for": 600})
        print(time.monotonic() - begun)

asyncio.run(main())
"""


class Times(NamedTuple):
    """Seconds: from denial to notification, and from answer to reply."""

    asked: list[float]
    answered: list[float]


def measure() -> Times:
    """Return how long each of some rounds took."""
    with restore(desktop_snapshot(installed_snapshot(base_snapshot()))) as guest:
        firewall, desktop = Firewall(guest), Desktop.find(guest)
        desktop.run(["systemctl", "--user", "stop", "appfwd-agent"], check=True)
        desktop.run(
            "systemd-run --user -q --unit=measured appfwd-agent --verbose --timeout 5", check=True
        )
        for domain in ("mozilla_t", "irc_t"):
            firewall.ctl("fence", "--yes", domain)
        _round(firewall, FIRST)  # loads fonts, and the policy that the others need
        time.sleep(20)
        rounds = [_round(firewall, FIRST + n) for n in range(1, ROUNDS + 1)]
    return Times([one for one, _ in rounds], [other for _, other in rounds])


def _round(firewall: Firewall, port: int) -> tuple[float, float]:
    guest = firewall.guest
    assert guest.probe.reach("mozilla_t", (HOST, port)) != "ok"
    time.sleep(QUIET)
    row = _until_asked(firewall, f"{HOST}:{port}/tcp")
    shown = _until_shown(firewall, str(row["id"]))
    took = guest.run(["python3", "-c", _ANSWER, str(row["id"])], check=True, timeout=SECONDS).out
    return shown - float(row["first"]), float(took)


def _until_asked(firewall: Firewall, place: str) -> dict[str, Any]:
    words = ["busctl", "--json=short", "call", *MANAGER, "ListPending", "a{sv}", "0"]
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        rows = json.loads(firewall.guest.run(words, check=True).out)["data"][0]
        for row in rows:
            if row["destination"]["data"] == place:
                return {key: value["data"] for key, value in row.items()}
    raise AssertionError(place)


def _until_shown(firewall: Firewall, identity: str) -> float:
    """Return when the agent had the question's notification on the screen (Unix time)."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        out = firewall.guest.run("journalctl -o json --no-pager _COMM=appfwd-agent").out
        for line in out.splitlines():
            entry = json.loads(line)
            found = _LINE.fullmatch(str(entry.get("MESSAGE")))
            if found and found[1] == identity:
                return int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    raise AssertionError(identity)


def figures(times: Times) -> dict[str, dict[str, float]]:
    """Return milliseconds, median and worst."""
    return {"asked_ms": _of(times.asked), "answered_ms": _of(times.answered)}


def _of(seconds: Sequence[float]) -> dict[str, float]:
    return {"p50": 1e3 * statistics.median(seconds), "max": 1e3 * max(seconds)}


def report(values: dict[str, dict[str, float]]) -> None:
    """Print them, beside what was promised."""
    for name, what in (("asked_ms", "denial to notification"), ("answered_ms", "answer to reply")):
        one = values[name]
        print(f"{what}: median {one['p50']:.0f} ms, worst {one['max']:.0f} ms")
    share = values["asked_ms"]["p50"] / PROMISED_MS
    print(f"the median is {share:.2f} of the {PROMISED_MS:.0f} ms that are promised")
