"""A person is asked on the desktop, in the real thing: kernel, system bus, polkit, logind, buttons.

Two people are logged in at the seat; alice has the active session unless a test says otherwise.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .desktop import Desktop, desktop_snapshot
from .firewall import MANAGER, SECONDS, Firewall
from .lab.cache import content_key
from .lab.guest import Guest
from .lab.store import Snapshot, derive, restore
from .test_changes import until

HOST, PORT = "10.9.0.5", 3128
FENCED = ("mozilla_t", "irc_t")
PLACE = f"{HOST}:{PORT}/tcp"
ASKS = f"mozilla_t wants to reach {PLACE}"
TEN, ALWAYS, BLOCK, MORE = "Allow for 10 minutes", "Always allow", "Block", "More…"


class Place(NamedTuple):
    """A guest with the daemon and two desktops, each with its agent."""

    firewall: Firewall
    alice: Desktop
    bob: Desktop

    @property
    def guest(self) -> Guest:
        return self.firewall.guest

    def reach(self, port: int = PORT) -> str:
        return self.guest.probe.reach("mozilla_t", (HOST, port))

    def pending(self) -> list[dict[str, Any]]:
        return self.firewall.rows("ListPending")


def fenced(parent: Snapshot) -> Snapshot:
    """Return a snapshot with fences, of two domains, so that an answer's type is not there yet."""
    desktops = desktop_snapshot(parent, "alice", "bob")
    return derive(desktops, content_key(Path(__file__), *FENCED), _fence)


def _fence(guest: Guest) -> None:
    for domain in FENCED:
        Firewall(guest).call("Fence", "sa{sv}", domain, "0")


@pytest.fixture(scope="module")
def whole(installed: Snapshot) -> Iterator[Place]:
    """Serve some ports in `peer`."""
    with restore(fenced(installed)) as guest:
        made = Place(Firewall(guest), Desktop.find(guest, "alice"), Desktop.find(guest, "bob"))
        for port in (PORT, PORT + 1, PORT + 2):
            guest.probe.serve((HOST, port), netns="peer")
        yield made


@pytest.fixture
def place(whole: Place) -> Iterator[Place]:
    """Have nothing asked, granted, blocked or shown, and alice at the machine."""
    if not whole.alice.active():
        whole.bob.switch_to(whole.alice)
    yield whole
    for row in whole.pending():
        # One that is being answered is none any more.
        whole.firewall.call("Answer", "ssa{sv}", row["id"], "allow", "0", check=False)
    for row in whole.firewall.rows("ListBlocked"):
        whole.firewall.call("Unblock", "ssa{sv}", row["domain"], row["destination"], "0")
    whole.firewall.clear_grants()
    until(lambda: not whole.alice.notifications() and not whole.bob.notifications())


def asked(place: Place, desktop: Desktop, port: int = PORT) -> str:
    """Try, as a program does, until a notification asks; return its summary.

    After a block it is quiet for half a minute.
    """
    summary = f"mozilla_t wants to reach {HOST}:{port}/tcp"

    def shown_now() -> bool:
        assert place.reach(port) != "ok"
        return any(one.summary == summary for one in desktop.notifications())

    until(shown_now)
    return summary


def agent(desktop: Desktop, what: str) -> None:
    """Do something to the agent's service, as its person."""
    desktop.run(["systemctl", "--user", what, "appfwd-agent"], check=True)


def shown(desktop: Desktop, summary: str = ASKS) -> None:
    """Wait until a notification is shown."""
    until(lambda: any(one.summary == summary for one in desktop.notifications()))


def test_refused_asked_allowed_and_the_next_try_succeeds(place: Place) -> None:
    asked(place, place.alice)
    (one,) = place.alice.notifications()
    assert one.buttons == (TEN, ALWAYS, BLOCK, MORE)
    assert "The program is probably" in one.body
    assert place.bob.notifications() == []
    place.alice.press(TEN)
    until(lambda: place.reach() == "ok")

    def grants() -> list[dict[str, Any]]:  # stored a moment after it is in force
        return [row for row in place.firewall.rows("List") if row["kind"] == "grant"]

    until(lambda: len(grants()) == 1)
    (row,) = grants()
    assert (row["destination"], row["domain"]) == (PLACE, "mozilla_t")
    assert row["ends"]
    assert place.alice.notifications() == []


def test_more_says_what_else_could_be_allowed_and_takes_a_password(place: Place) -> None:
    asked(place, place.alice)
    place.alice.press(MORE)
    until(lambda: any("Allow network" in one.buttons for one in place.alice.notifications()))
    (one,) = place.alice.notifications()
    assert "The whole network is 10.9.0.0/24." in one.body
    place.alice.press("Allow host")  # and nobody is there who asks her for a password
    shown(place.alice, f"Not answered: {ASKS}")
    assert place.reach() != "ok"
    assert [row["destination"] for row in place.pending()] == [PLACE]


def test_the_agent_killed_comes_back_and_asks_again(place: Place) -> None:
    summary = asked(place, place.alice, PORT + 1)
    killed = ["systemctl", "--user", "kill", "--signal=KILL", "appfwd-agent"]
    place.alice.run(killed, check=True)
    # What it showed stays, and nobody takes its buttons. The new one asks anew.
    until(lambda: len(place.alice.notifications()) == 2)
    assert len(place.pending()) == 1
    # A server that starts anew knows of neither, and is shown what is asked.
    place.alice.run(["systemctl", "--user", "restart", "xfce4-notifyd"], check=True)
    until(lambda: [one.summary for one in place.alice.notifications()] == [summary])
    place.alice.press(TEN, summary)
    until(lambda: place.reach(PORT + 1) == "ok")


def test_another_session_is_active_and_its_person_is_asked(place: Place) -> None:
    summary = asked(place, place.alice, PORT + 2)
    (row,) = place.pending()
    place.alice.switch_to(place.bob)
    shown(place.bob, summary)
    until(lambda: not place.alice.notifications())
    busctl = ["busctl", f"--timeout={SECONDS:.0f}", "call", *MANAGER, "Answer"]
    direct = place.alice.run([*busctl, "ssa{sv}", row["id"], "allow", "0"], timeout=SECONDS)
    assert "not authorised" in direct.err
    assert place.reach(PORT + 2) != "ok"
    place.bob.press(ALWAYS, summary)
    until(lambda: place.reach(PORT + 2) == "ok")


def test_blocked_dismissed_and_timed_out(place: Place) -> None:
    asked(place, place.alice)
    place.alice.dismiss(ASKS)
    until(lambda: not place.alice.notifications())
    assert [row["destination"] for row in place.pending()] == [PLACE]
    agent(place.alice, "stop")
    short = place.alice.spawn(["appfwd-agent", "--timeout", "3"])
    shown(place.alice)  # a new agent is asked what is open
    until(lambda: not place.alice.notifications())
    assert [row["destination"] for row in place.pending()] == [PLACE]
    short.kill()
    agent(place.alice, "start")
    shown(place.alice)
    place.alice.press(BLOCK)
    until(lambda: place.firewall.rows("ListBlocked") != [])
    assert place.reach() != "ok"
    (row,) = (r for r in place.firewall.rows("ListDenied") if r["destination"] == PLACE)
    assert (row["cause"], row["blocked"]) == ("fenced", True)
    assert place.pending() == []
    assert place.alice.notifications() == []


def test_denials_of_the_daemons_own_domain_there_are_none(place: Place) -> None:
    """Whatever it needs of logind, the bus and the audit system it may."""
    refused = [avc for avc in place.guest.avcs() if avc.source == "appfwd_t"]
    assert "\n".join(map(str, refused)) == ""
