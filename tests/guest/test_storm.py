"""A hundred fenced domains that are refused at once, twenty places each: bounded, and answered."""

import json
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from appfwd.core.questions import KEPT_AT_MOST, KEPT_OF_ONE

from .firewall import SECONDS, Firewall
from .lab.guest import Guest, runcon
from .lab.store import Snapshot, restore
from .test_changes import until

DOMAINS = [f"appfwd_storm{number:02}_t" for number in range(100)]
HOST, PORT, PLACES = "10.9.0.5", 3128, 20
#: Domains like those that the tests use, which may send datagrams anywhere.
MODULE = "".join(f"(type {d})(typeattributeset domain ({d}))\n" for d in DOMAINS) + (
    f"(typeattributeset appfwd_lab_domain ({' '.join(DOMAINS)}))\n"
)
#: Each line that comes starts one of them; all wait for the same file, so that they begin at once.
STORM = f"""
for domain in $DOMAINS; do
  {" ".join(runcon('"$domain"'))} bash -c '
    until [ -e /run/storm ]; do sleep 0.2; done
    for n in $(seq {PLACES}); do echo x > /dev/udp/10.9.1.$n/9; done' 2> /dev/null &
done
wait
"""


@pytest.fixture(scope="module")
def stormed(installed: Snapshot) -> Iterator[Firewall]:
    """Have a hundred more domains, each of them fenced, and one that is known."""
    with restore(installed) as guest:
        guest.write("/root/appfwd_storm.cil", MODULE)
        guest.run("semodule -i /root/appfwd_storm.cil", check=True, timeout=SECONDS)
        fences = "".join(f'[[fence]]\ndomain = "{d}"\n' for d in [*DOMAINS, "mozilla_t", "irc_t"])
        guest.write("/root/fences.toml", fences)
        guest.run("appfwctl apply --yes /root/fences.toml", check=True, timeout=4 * SECONDS)
        yield Firewall(guest)


def test_a_hundred_domains_at_once(stormed: Firewall) -> None:
    guest, probe = stormed.guest, stormed.guest.probe
    server = probe.serve((HOST, PORT), netns="peer")
    assert probe.reach("mozilla_t", (HOST, PORT)) != "ok"
    until(lambda: len(stormed.rows("ListPending")) == 1)
    (row,) = stormed.rows("ListPending")
    before = _memory(guest)
    storm = guest.spawn(["bash", "-c", f"DOMAINS='{' '.join(DOMAINS)}'; {STORM}"])
    guest.write("/run/storm", "")
    begun = time.monotonic()
    stormed.ctl("answer", row["id"], "allow", "--for", "10m")
    answered = time.monotonic() - begun
    assert probe.reach("mozilla_t", (HOST, PORT)) == "ok"
    assert storm.wait() == 0
    assert answered < SECONDS
    until(lambda: len(_domains(stormed)) == len(DOMAINS))
    kept = _domains(stormed)
    assert sum(kept.values()) <= KEPT_AT_MOST
    assert max(kept.values()) <= KEPT_OF_ONE
    assert _memory(guest) - before < 100 << 20
    told = json.loads(stormed.ctl("--json", "denied").out)
    assert {one["domain"] for one in told} >= {*DOMAINS}
    server.close()


def _domains(firewall: Firewall) -> Counter[str]:
    """Return how many questions there are of each domain of the storm."""
    rows = firewall.rows("ListPending")
    return Counter(str(row["domain"]) for row in rows if row["domain"] in DOMAINS)


def _memory(guest: Guest) -> int:
    return int(guest.run("systemctl show -P MemoryCurrent appfwd", check=True).out)
