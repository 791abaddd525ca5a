"""Grants that end, by the kernel's verdicts: through kills, reboots and clocks that are set."""

import time
from collections.abc import Iterator

import pytest

from .firewall import SECONDS, Firewall
from .lab.guest import Guest
from .lab.store import Snapshot, restore
from .place import HOST, PLACE, PORT, holds
from .test_changes import until

TO = (HOST, PORT)


@pytest.fixture(autouse=True)
def clock(guest: Guest) -> Iterator[None]:
    """Serve, and put the guest's clock right afterwards."""
    server = guest.probe.serve(TO, netns="peer")
    yield
    guest.run(["date", "-s", f"@{time.time()}"], check=True)
    server.close()


def now(guest: Guest) -> float:
    return float(guest.run("date +%s.%N", check=True).out)


def ended(firewall: Firewall) -> list[tuple[str, str]]:
    """Return domain and destination of what is listed as ended."""
    rows = firewall.rows("List", "1", "ended", "b", "true")
    return [(r["domain"], r["destination"]) for r in rows if r["ended"]]


def ends(firewall: Firewall) -> float:
    """Return when the one grant that is in force ends."""
    (row,) = (row for row in firewall.rows("List") if row["kind"] == "grant")
    return float(row["ends"])


def test_open_connections_end_with_their_grant_and_not_before(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.guard(PLACE)
    said = firewall.ctl("grant", "--for", "12s", "mozilla_t", PLACE).out
    assert said == f"granted: {PLACE} to mozilla_t, for 12s\n"
    end = ends(firewall)
    flow = guest.probe.open("mozilla_t", TO).opened()
    while flow.echo(seconds=1).ok:
        last = now(guest)
        assert last < end + 30, "it never ends"
    assert last > end - 3, "it ended before its time"
    flow.close()
    holds(guest)
    assert ("mozilla_t", PLACE) in ended(firewall)
    assert "ended" in firewall.ctl("list").out


@pytest.mark.parametrize("hours", ["-3 hours", "+3 hours"])
def test_who_sets_the_clock_neither_shortens_nor_lengthens_a_time(
    firewall: Firewall, guest: Guest, hours: str
) -> None:
    firewall.guard(PLACE)
    firewall.grant_for("mozilla_t", PLACE, 10)
    guest.run(["date", "-s", hours], check=True)
    holds(guest, "mozilla_t")
    until(lambda: guest.probe.reach("mozilla_t", TO) != "ok")
    assert not [row for row in firewall.rows("List") if row["kind"] == "grant"]


def test_a_time_of_day_comes_when_the_clock_says_so(firewall: Firewall, guest: Guest) -> None:
    firewall.guard(PLACE)
    tomorrow = guest.run("date -d '+25 hours' '+%Y-%m-%d %H:%M'", check=True).out.strip()
    firewall.ctl("grant", "--until", tomorrow, "mozilla_t", PLACE)
    holds(guest, "mozilla_t")
    guest.run(["date", "-s", tomorrow], check=True)
    until(lambda: guest.probe.reach("mozilla_t", TO) != "ok")


def test_a_killed_daemon_ends_it_all_the_same(firewall: Firewall, guest: Guest) -> None:
    firewall.guard(PLACE)
    firewall.grant_for("mozilla_t", PLACE, 15)
    guest.run("systemctl kill -s KILL appfwd", check=True)
    holds(guest, "mozilla_t")
    until(lambda: guest.probe.reach("mozilla_t", TO) != "ok")


def test_an_end_that_came_while_no_daemon_ran_is_in_force_when_it_is_ready(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.guard(PLACE)
    firewall.grant_for("mozilla_t", PLACE, 5)
    end = ends(firewall)
    guest.run("systemctl stop appfwd", check=True, timeout=SECONDS)
    until(lambda: now(guest) > end)
    guest.run("systemctl start appfwd", check=True, timeout=SECONDS)
    holds(guest)


def test_it_ends_while_a_policy_is_loaded_for_another_change(
    firewall: Firewall, guest: Guest
) -> None:
    """However long that takes: semodule is stopped meanwhile."""
    firewall.guard(PLACE)
    firewall.grant_for("mozilla_t", PLACE, 5)
    flow = guest.probe.open("mozilla_t", TO).opened()
    fence = guest.spawn(["appfwctl", "fence", "--yes", "postgresql_t"])
    until(lambda: guest.run("pkill -STOP -x semodule").rc == 0)
    until(lambda: not flow.echo(seconds=1).ok)
    holds(guest)
    assert guest.run("pgrep -x semodule").rc == 0
    assert fence.poll() is None
    guest.run("pkill -CONT -x semodule", check=True)
    assert fence.wait(SECONDS) == 0, fence.output()
    holds(guest)
    assert ("mozilla_t", PLACE) in ended(firewall)
    firewall.ctl("unfence", "postgresql_t")


def test_no_other_command_makes_it_permanent(firewall: Firewall) -> None:
    firewall.grant_for("mozilla_t", PLACE, 3600)
    end = ends(firewall)
    firewall.ctl("guard", PLACE)
    firewall.ctl("confirm", check=False)
    firewall.ctl("down", "--yes")
    firewall.ctl("up")
    firewall.restart()
    assert abs(ends(firewall) - end) < 1


def test_over_a_reboot(installed: Snapshot) -> None:
    """With the boot one ends; of two lengths of time one is over, the other goes on."""
    with restore(installed) as guest:
        firewall = Firewall(guest)
        firewall.guard("10.9.0.0/24")
        firewall.ctl("grant", "--boot", "mozilla_t", PLACE)
        firewall.grant_for("irc_t", PLACE, 2)
        firewall.grant_for("named_t", PLACE, 3600)
        end = max(row["ends"] for row in firewall.rows("List") if row["domain"] == "named_t")
        guest.reboot()
        guest.run("systemctl start appfwd", check=True, timeout=SECONDS)
        guest.probe.serve(TO, netns="peer")
        holds(guest, "named_t")
        assert abs(ends(firewall) - end) < 5
        assert {domain for domain, _ in ended(firewall)} == {"mozilla_t", "irc_t"}
