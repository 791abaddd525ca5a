"""Grants that end with a login session of logind, in the kernel: logged out, closing, restarted."""

from collections.abc import Iterator

import pytest

from .firewall import SECONDS, Firewall
from .lab.guest import Guest
from .place import HOST, PLACE, PORT, holds
from .test_changes import until

TO = (HOST, PORT)
UNIT = "someone"
#: A session's program: it grants, then stays; what it leaves behind stays in its session.
PROGRAM = "appfwctl grant --session mozilla_t {place} >/run/said 2>&1; echo $? >/run/status; {then}"


@pytest.fixture(scope="module", autouse=True)
def _server(firewall: Firewall) -> None:
    firewall.guest.probe.serve(TO, netns="peer")


@pytest.fixture(autouse=True)
def _logged_out(guest: Guest) -> Iterator[None]:
    yield
    guest.run(f"systemctl stop {UNIT}; loginctl kill-session --signal=KILL $(cat /run/session)")


def log_in(guest: Guest, then: str = "exec sleep 1000") -> str:
    """Open a session, whose program grants the place; return the session's id."""
    program = "echo $XDG_SESSION_ID >/run/session; " + PROGRAM.format(place=PLACE, then=then)
    guest.run("rm -f /run/said /run/status /run/session")
    login = ["systemd-run", f"--unit={UNIT}", "--collect", "-p", "PAMName=login", "-p", "User=root"]
    guest.run([*login, "sh", "-c", program], check=True)
    until(lambda: guest.run("test -s /run/status").rc == 0)
    said = guest.run("cat /run/said; cat /run/status").out
    assert said == f"granted: {PLACE} to mozilla_t, until your session ends\n0\n"
    return guest.run("cat /run/session", check=True).out.strip()


def grants(firewall: Firewall) -> list[str]:
    """Return the sessions of the grants that are in force."""
    rows = firewall.json("list")
    return [row["session"] for row in rows if row["kind"] == "grant" and not row["ended"]]


def test_it_lasts_as_long_as_the_session(firewall: Firewall, guest: Guest) -> None:
    firewall.guard(PLACE)
    session = log_in(guest)
    assert session
    assert grants(firewall) == [session]
    assert f"until session {session} ends" in firewall.ctl("list").out
    holds(guest, "mozilla_t")
    firewall.restart()
    holds(guest, "mozilla_t")
    guest.run(["loginctl", "terminate-session", session], check=True)
    until(lambda: guest.probe.reach("mozilla_t", TO) != "ok")
    holds(guest)
    assert grants(firewall) == []


def test_who_left_a_program_behind_has_logged_out(firewall: Firewall, guest: Guest) -> None:
    firewall.guard(PLACE)
    session = log_in(guest, "setsid sleep 1000 & sleep 5")
    holds(guest, "mozilla_t")
    until(lambda: "closing" in guest.run(["loginctl", "show-session", session, "-p", "State"]).out)
    until(lambda: guest.probe.reach("mozilla_t", TO) != "ok")
    assert grants(firewall) == []


def test_logged_out_while_no_daemon_ran_it_is_over_when_it_is_ready(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.guard(PLACE)
    session = log_in(guest)
    guest.run("systemctl kill -s KILL appfwd; systemctl stop appfwd", timeout=SECONDS)
    guest.run(["loginctl", "terminate-session", session], check=True)
    until(lambda: session not in guest.run("loginctl list-sessions --no-legend").out.split())
    guest.run("systemctl start appfwd", check=True, timeout=SECONDS)
    holds(guest)
    assert grants(firewall) == []


def test_a_session_that_is_not_open_is_refused(firewall: Firewall) -> None:
    done = firewall.call(
        "Grant", "ssa{sv}", "mozilla_t", PLACE, "1", "session", "s", "77777", check=False
    )
    assert done.rc != 0
    assert "There is no open login session '77777'" in done.err
    assert grants(firewall) == []
