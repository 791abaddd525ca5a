"""How late a grant ends: from its time to the last packet that passed, by the guest's clock."""

import statistics
from collections.abc import Sequence

from tests.guest.firewall import Firewall, installed_snapshot
from tests.guest.lab.store import base_snapshot, restore
from tests.guest.place import HOST, PLACE, PORT

ROUNDS, LASTS = 10, 4
#: A connection sends this often, and waits as long for an answer (seconds).
EVERY = 0.1


def measure() -> Sequence[float]:
    """Return the seconds that each of some grants was late."""
    with restore(installed_snapshot(base_snapshot())) as guest:
        firewall = Firewall(guest)
        server = guest.probe.serve((HOST, PORT), netns="peer")
        firewall.guard(PLACE)
        late = [_round(firewall) for _ in range(ROUNDS)]
        server.close()
    return late


def _round(firewall: Firewall) -> float:
    firewall.ctl("grant", "--for", f"{LASTS}s", "mozilla_t", PLACE)
    (row,) = (r for r in firewall.json("list") if r["kind"] == "grant" and not r["ended"])
    flow = firewall.guest.probe.open("mozilla_t", (HOST, PORT)).opened()
    passed = 0.0
    while flow.echo(seconds=EVERY).ok:
        passed = float(firewall.guest.run("date +%s.%N", check=True).out)
    flow.close()
    return passed - float(row["ends"])


def figures(late: Sequence[float]) -> dict[str, float]:
    """Return milliseconds, median and worst."""
    return {"p50_ms": 1e3 * statistics.median(late), "max_ms": 1e3 * max(late)}


def report(values: dict[str, float]) -> None:
    """Print them, and what part of the second they are that was promised."""
    median, worst = values["p50_ms"], values["max_ms"]
    print(f"a grant of {LASTS} s ends late by: median {median:.0f} ms, worst {worst:.0f} ms")
    print(f"the worst is {values['max_ms'] / 1e3:.2f} of the second that is promised")
