"""Changes that go back by themselves: in time, confirmed, and with the daemon gone meanwhile."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.bus.peer import Peer, Refused, bare
from tests.bus.records import SEEN, observe
from tests.bus.running import Daemon
from tests.bus.samples import PLACE

#: What can be on trial, what it changes, and what is told when it went back.
TRIALS: dict[str, tuple[tuple[Any, ...], str]] = {
    "a closed bridge": (("SetBridge", "closed", {"strict": True}), "the bridge, which was open"),
    "an observed bridge": (("SetBridge", "observed", {}), "the bridge, which was open"),
    "the baseline": (("SetBaseline", True, {}), "the baseline turned on"),
    "a guard": (("Guard", PLACE, {}), f"the guard of {PLACE}"),
    "an inbound guard": (("Guard", "any:22", {"direction": "in"}), "the guard of any:22 inbound"),
}
EACH = pytest.mark.parametrize(("call", "told"), TRIALS.values(), ids=TRIALS)
SETTINGS = ("members", "settings", "strict", "baseline", "trials")


def _try(peer: Peer, call: tuple[Any, ...], seconds: int) -> Any:
    """Make a call's change on trial."""
    *first, options = call
    return peer.call(*first, {**options, "for": seconds})


def _asked(daemon: Daemon) -> dict[str, Any]:
    """Return what is desired: modules that are spare may stay, and so may an empty table."""
    state = daemon.state()
    return {key: state[key] for key in SETTINGS}


def _elements(root: Peer) -> int:
    return int(root.call("GetRules", {})["total"])


@EACH
def test_it_goes_back_by_itself_and_that_is_told(
    daemon: Daemon, root: Peer, watcher: Peer, call: tuple[Any, ...], told: str
) -> None:
    before = _asked(daemon)
    begun = time.time()
    _try(root, call, 1)
    during = _asked(daemon)
    assert during != before
    assert during["trials"] == 1
    assert begun <= root.get("Deadline") <= time.time() + 2
    (what,) = watcher.wait_signal("Reverted").body
    assert what == f"Taken back, since nobody confirmed it in time: {told}."
    assert 0.9 < time.time() - begun < 5
    assert _asked(daemon) == before
    assert root.get("Deadline") == 0
    assert _elements(root) == 0
    deadlines = [
        bare(m.body)[1]["Deadline"]
        for m in watcher.signals("PropertiesChanged")
        if "Deadline" in m.body[1]
    ]
    assert len(deadlines) == 2
    assert deadlines[-1] == 0
    if "Guard" in call:
        assert watcher.wait_signal("Removed").body[1]["kind"].value == "guard"


@EACH
def test_confirmed_it_stays(
    daemon: Daemon, root: Peer, watcher: Peer, call: tuple[Any, ...], told: str
) -> None:
    assert told
    _try(root, call, 1)
    during = _asked(daemon)
    assert root.call("Confirm", {}) == 1
    assert root.get("Deadline") == 0
    time.sleep(1.5)
    root.alive()
    assert watcher.signals("Reverted") == []
    assert _asked(daemon) == {**during, "trials": 0}
    with pytest.raises(Refused, match="Nothing waits"):
        root.call("Confirm", {})


def test_everything_on_trial_is_confirmed_at_once(daemon: Daemon, root: Peer) -> None:
    _try(root, ("SetBridge", "closed", {}), 3600)
    _try(root, ("SetBaseline", True, {}), 60)
    _try(root, ("Guard", PLACE, {}), 86400)
    _try(root, ("Guard", "10.1.1.1", {}), 86400)
    assert 50 < root.get("Deadline") - time.time() <= 61
    assert root.call("Confirm", {}) == 4
    assert daemon.state()["settings"] == ["closed", True]


def test_a_second_trial_goes_back_to_what_was_before_the_first(
    daemon: Daemon, root: Peer, watcher: Peer
) -> None:
    before = _asked(daemon)
    _try(root, ("SetBridge", "observed", {}), 1)
    _try(root, ("SetBridge", "closed", {}), 2)
    assert _asked(daemon)["trials"] == 1
    begun = time.time()
    watcher.wait_signal("Reverted")
    assert time.time() - begun > 1.5, "the time of the second counts"
    assert _asked(daemon) == before


def test_trials_of_different_things_go_back_each_in_its_time(
    daemon: Daemon, root: Peer, watcher: Peer
) -> None:
    _try(root, ("Guard", PLACE, {}), 1)
    _try(root, ("SetBaseline", True, {}), 3600)
    (what,) = watcher.wait_signal("Reverted").body
    assert "guard" in what
    state = _asked(daemon)
    assert (state["members"], state["baseline"], state["trials"]) == ([], True, 1)


@EACH
def test_the_same_without_a_time_makes_it_permanent(
    daemon: Daemon, root: Peer, call: tuple[Any, ...], told: str
) -> None:
    assert told
    _try(root, call, 3600)
    root.call(*call)
    assert _asked(daemon)["trials"] == 0
    assert root.get("Deadline") == 0


@EACH
def test_what_holds_for_good_is_no_trial(
    daemon: Daemon, root: Peer, call: tuple[Any, ...], told: str
) -> None:
    assert told
    root.call(*call)
    before = _asked(daemon)
    _try(root, call, 1)
    assert root.get("Deadline") == 0
    assert _asked(daemon) == before


def test_a_guard_on_trial_that_is_taken_away_is_on_trial_no_more(
    daemon: Daemon, root: Peer
) -> None:
    number = _try(root, ("Guard", PLACE, {}), 3600)
    assert number == root.call("List", {})[0]["id"]
    root.call("Unguard", PLACE, {})
    assert _asked(daemon)["trials"] == 0


def test_a_change_that_fails_is_on_trial_neither(daemon: Daemon, root: Peer) -> None:
    daemon.fail("save", "StoreFailed", "The disk is full.")
    with daemon.unchanged("module", "table"), pytest.raises(Refused, match="disk is full"):
        _try(root, ("Guard", PLACE, {}), 3600)
    assert root.get("Deadline") == 0


def test_what_cannot_be_taken_back_is_told_as_the_problem(daemon: Daemon, root: Peer) -> None:
    _try(root, ("Guard", PLACE, {}), 1)
    daemon.fail("save", "StoreFailed", "The disk is full.")
    _until(lambda: root.get("Problem") == "The disk is full.")
    assert _asked(daemon)["trials"] == 1
    root.call("Confirm", {})
    assert root.get("Problem") == ""


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


# The daemon comes and goes


@EACH
def test_the_daemon_killed_meanwhile_it_goes_back_in_its_time(
    own: Daemon, call: tuple[Any, ...], told: str
) -> None:
    assert told
    before = _asked(own)
    with own.peer() as root:
        _try(root, call, 1)
        own.stop(signal.SIGKILL)
        time.sleep(1.1)
        own.start()
        assert _asked(own) == before
        assert root.get("Deadline") == 0
        assert _elements(root) == 0


def test_the_daemon_killed_and_back_before_the_time_it_still_goes_back(own: Daemon) -> None:
    before = _asked(own)
    with own.peer() as root:
        root.watch("type='signal',sender='org.appfwd1'")
        _try(root, ("SetBridge", "closed", {"strict": True}), 4)
        during, deadline = _asked(own), root.get("Deadline")
        own.stop(signal.SIGKILL)
        own.start()
        assert _asked(own) == during
        assert abs(root.get("Deadline") - deadline) <= 1
        root.wait_signal("Reverted")
        assert deadline - 1 <= time.time() <= deadline + 4
    assert _asked(own) == before


def test_the_daemon_killed_and_back_before_the_time_it_can_be_confirmed(own: Daemon) -> None:
    with own.peer() as root:
        _try(root, ("SetBridge", "closed", {}), 30)
        own.stop(signal.SIGKILL)
        own.start()
        assert root.call("Confirm", {}) == 1
        own.stop()
        own.start()
        assert root.get("Bridge") == "closed"


@EACH
def test_a_stop_takes_it_back_at_once(own: Daemon, call: tuple[Any, ...], told: str) -> None:
    assert told
    before = _asked(own)
    with own.peer() as root:
        root.call("Guard", "10.7.7.7", {})
        kept = _asked(own)
        _try(root, call, 3600)
        assert own.stop() == 0
        assert "taking back what is on trial, since the daemon stops" in own.log.read_text()
        own.start()
    assert _asked(own) == kept != before


@EACH
def test_it_does_not_outlive_a_boot(own: Daemon, call: tuple[Any, ...], told: str) -> None:
    assert told
    before = _asked(own)
    with own.peer() as root:
        _try(root, call, 3600)
    own.stop(signal.SIGKILL)
    own.boot_id.write_text("2\n", "ascii")
    own.start()
    assert _asked(own) == before
    assert not {"nft", "install"} & set(own.tell("reached")), "it never was in force again"


def test_what_was_observed_outlives_a_stop(own: Daemon) -> None:
    observe(own)
    assert own.stop() == 0
    own.start()
    assert len(own.state()["observed"]) == len(SEEN)
    assert own.tell("record", texts=[SEEN[0]]), "an observed bridge is heard again"
