"""What is observed on a real kernel: few records, however many connections; and trials."""

import time
from collections.abc import Iterator

import pytest

from .firewall import SECONDS, Firewall
from .lab.guest import Guest
from .test_changes import prop, until

SERVER = "10.9.0.5"
#: In appfwd/core/seen.py: records a second at the most, and how many more at once.
RATE, BURST = 50, 500
CONNECTIONS = 10_000
#: Opens so many connections to ports of the server, one after the other.
FLOOD = f"""
import socket
for number in range({CONNECTIONS}):
    with socket.socket() as one:
        one.connect_ex(("{SERVER}", 1024 + number))
"""
RECORDS = "dmesg | grep -c 'avc:  granted .* tcontext=[^ ]*:appfwd_seen_'"


@pytest.fixture(autouse=True)
def _server(guest: Guest) -> Iterator[None]:
    """Serve on port 80 of the peer."""
    server = guest.probe.serve((SERVER, 80), netns="peer")
    yield
    server.close()


def _records(guest: Guest) -> int:
    return int(guest.run(RECORDS).out)


def test_a_place_is_recorded_seldom_and_a_flood_is_bounded(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.ctl("bridge", "observe")
    guest.run("sysctl -qw kernel.printk_ratelimit=0; dmesg -C", check=True)
    for _ in range(48):
        assert guest.probe.reach("mozilla_t", (SERVER, 80)) == "ok"
    assert 1 <= _records(guest) <= 24, "one in sixteen of 47, and the first"
    seen = firewall.json("observed", "--domain", "mozilla_t")
    assert [(row["direction"], row["destination"]) for row in seen] == [("out", f"{SERVER}:80/tcp")]
    guest.run("dmesg -C", check=True)
    begun = time.monotonic()
    guest.run(["python3", "-c", FLOOD], timeout=SECONDS, check=True)
    seconds = time.monotonic() - begun
    until(lambda: len(firewall.json("observed")) > BURST // 2)
    rows = firewall.json("observed")
    print(f"{CONNECTIONS} connections in {seconds:.1f} s: {len(rows)} places observed")
    assert BURST // 2 < len(rows) <= BURST + RATE * (seconds + 1) + 1
    assert prop(guest, "Problem") == 's ""'
    firewall.ctl("observed", "--forget")
    assert firewall.json("observed") == []
    firewall.ctl("bridge", "open")


def test_a_trial_goes_back_though_the_daemon_is_killed(firewall: Firewall, guest: Guest) -> None:
    """Closed strictly: nothing without a label gets through, until it is taken back."""
    firewall.ctl("bridge", "close", "--strict", "--for", "20s", "--yes")
    assert guest.probe.reach("mozilla_t", (SERVER, 80)) == "ECONNREFUSED"
    guest.run("systemctl kill -s KILL appfwd", check=True)
    until(lambda: guest.probe.reach("mozilla_t", (SERVER, 80)) == "ok")
    until(lambda: prop(guest, "Bridge") == 's "open"')
    assert prop(guest, "Strict") == "b false"


def test_a_guard_on_trial_stays_when_it_is_confirmed(firewall: Firewall, guest: Guest) -> None:
    trial = ("Guard", "sa{sv}", f"{SERVER}:80", "1", "for", "i", "8")
    firewall.call(*trial)
    firewall.call("Confirm", "a{sv}", "0")  # without the start of a program, which may take longer
    firewall.ctl("guard", "--for", "5s", f"{SERVER}:81")
    until(lambda: len(firewall.entries()) == 1)
    assert guest.probe.reach("mozilla_t", (SERVER, 80)) == "ECONNREFUSED"
