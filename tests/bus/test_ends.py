"""Grants that end, over the bus: when, how that is told, and what is no time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.bus.peer import Peer, Refused
from tests.bus.running import Daemon
from tests.bus.samples import PLACE


def _grants(root: Peer, **options: Any) -> list[dict[str, Any]]:
    return list(root.call("List", {"kind": "grant", **options}))


def test_a_grant_for_a_time_ends_and_is_listed_as_ended(root: Peer, watcher: Peer) -> None:
    begun = time.time()
    number = root.call("Grant", "mozilla_t", PLACE, {"for": 2})
    (row,) = _grants(root)
    assert begun + 2 <= row["ends"] <= time.time() + 2
    assert not row["ended"]
    assert watcher.wait_signal("Removed").body[0] == number
    assert 1.9 < time.time() - begun < 5
    assert _grants(root) == []
    (row,) = _grants(root, ended=True)
    assert (row["id"], row["domain"], row["ended"]) == (number, "mozilla_t", True)
    assert begun + 1.9 <= row["ends"] <= time.time()


def test_a_grant_until_a_time_ends_then(root: Peer, watcher: Peer) -> None:
    until = time.time() + 2
    root.call("Grant", "mozilla_t", PLACE, {"until": until})
    assert _grants(root)[0]["ends"] == pytest.approx(until)
    watcher.wait_signal("Removed")
    assert until - 0.1 < time.time() < until + 3


def test_a_grant_for_the_boot_has_no_known_end(root: Peer) -> None:
    root.call("Grant", "mozilla_t", PLACE, {"boot": True})
    assert _grants(root)[0]["ends"] == float("inf")


def test_a_grant_for_a_session_ends_with_it(daemon: Daemon, root: Peer, watcher: Peer) -> None:
    daemon.tell("sessions", opened=[["3", 1], ["c2", 5]])
    number = root.call("Grant", "mozilla_t", PLACE, {"session": "3"})
    (row,) = _grants(root)
    assert (row["ends"], row["session"]) == (float("inf"), "3")
    text = root.call("Export", {})
    daemon.tell("sessions", opened=[["3", 2], ["c2", 5]])  # another one that has its id
    assert watcher.wait_signal("Removed").body[0] == number
    assert [r["ended"] for r in _grants(root, ended=True)] == [True]
    assert root.call("Apply", text, {}) == {"added": 0, "removed": 0}


def test_a_daemon_that_starts_after_the_session_ended_ends_its_grants(
    daemon: Daemon, root: Peer
) -> None:
    daemon.tell("sessions", opened=[["3", 1]])
    root.call("Grant", "mozilla_t", PLACE, {"session": "3"})
    daemon.stop()
    daemon.start()  # where no session is open
    with daemon.peer() as again:
        assert _grants(again) == []


def test_a_grant_without_an_end_has_none(root: Peer) -> None:
    root.call("Grant", "mozilla_t", PLACE, {})
    assert _grants(root)[0]["ends"] == 0.0


def test_granted_again_the_new_end_holds(root: Peer, watcher: Peer) -> None:
    first = root.call("Grant", "mozilla_t", PLACE, {"for": 1})
    assert root.call("Grant", "mozilla_t", PLACE, {"for": 3600}) == first
    time.sleep(2)
    assert watcher.signals("Removed") == []
    assert _grants(root)[0]["ends"] > time.time() + 3500


def test_granted_for_good_it_does_not_end(root: Peer) -> None:
    root.call("Grant", "mozilla_t", PLACE, {"for": 1})
    root.call("Grant", "mozilla_t", PLACE, {})
    time.sleep(2)
    assert _grants(root)[0]["ends"] == 0.0


def test_no_other_change_makes_it_permanent(root: Peer, watcher: Peer) -> None:
    root.call("Grant", "mozilla_t", PLACE, {"for": 2})
    root.call("Guard", PLACE, {})
    root.call("Grant", "squid_t", PLACE, {})
    root.call("Down", {})
    root.call("Up", {})
    watcher.wait_signal("Removed")
    assert [row["domain"] for row in _grants(root)] == ["squid_t"]


def test_revoked_before_its_end_it_is_not_listed_as_ended(root: Peer) -> None:
    root.call("Grant", "mozilla_t", PLACE, {"for": 2})
    root.call("Revoke", "mozilla_t", PLACE, {})
    time.sleep(2.5)
    assert _grants(root, ended=True) == []


REFUSED = {
    "two ends": ({"for": 5, "boot": True}, "exclude each other"),
    "no time at all": ({"for": 0}, "from 1 to"),
    "a negative time": ({"for": -5}, "from 1 to"),
    "longer than ten years": ({"for": 2**31 - 1}, "from 1 to"),
    "no number": ({"until": float("nan")}, "Unix time"),
    "never": ({"until": float("inf")}, "Unix time"),
    "a negative date": ({"until": -1.0}, "Unix time"),
    "no open session": ({"session": "7"}, "no open login session '7'"),
    "a session with a time": ({"session": "7", "for": 5}, "exclude each other"),
    "a session as a number": ({"session": 7}, "session"),
    "a session of another kind": ({"session": "a/b\x1b"}, "no open login session"),
    "a time as a word": ({"until": "18:00"}, "until"),
}


@pytest.mark.parametrize(("options", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_time_is_refused_and_nothing_granted(
    daemon: Daemon, root: Peer, options: dict[str, Any], text: str
) -> None:
    before = daemon.state()
    with pytest.raises(Refused, match=text) as refused:
        root.call("Grant", "mozilla_t", PLACE, options)
    assert refused.value.name.endswith("InvalidOption")
    assert daemon.state() == before


def test_a_time_that_has_passed_grants_nothing_for_long(root: Peer) -> None:
    root.call("Grant", "mozilla_t", PLACE, {"until": time.time() - 60})
    for _ in range(100):
        if not _grants(root):
            return
        time.sleep(0.05)
    pytest.fail("it is in force")
