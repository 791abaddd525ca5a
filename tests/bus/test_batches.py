"""Changes that come at once are one batch; what fails changes nothing and signals nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.bus.fixtures import OURS
from tests.bus.peer import Peer, Refused, bare, body_of, manager_call
from tests.bus.running import Daemon
from tests.bus.samples import PLACE, prepare

COUNT = 200
NET = "10.0.0.0/24"
PLACES = [f"10.0.0.{number}:80/tcp" for number in range(COUNT)]


@contextmanager
def _at_once(
    daemon: Daemon, calls: list[Any], *faults: tuple[str, str]
) -> Iterator[list[tuple[Peer, int]]]:
    """Make calls while the writer is at work with the first, so that all others wait for it."""
    with daemon.peer() as one, daemon.peer() as two:
        with daemon.held("list"):
            sent = [(one, one.send(calls[0]))]
            daemon.wait_reached("list")
            sent += [
                (two if n % 2 else one, (two if n % 2 else one).send(call))
                for n, call in enumerate(calls[1:])
            ]
            daemon.wait_queued(len(calls) - 1)
            for place, error in faults:
                daemon.fail(place, error)
        yield sent


def _answers(sent: list[tuple[Peer, int]]) -> list[Any]:
    answers = []
    for peer, serial in sent:
        try:
            answers.append(bare((body_of(peer.reply_to(serial)) or [None])[0]))
        except Refused as refusal:
            answers.append(refusal)
    return answers


def test_two_hundred_grants_at_once_cost_two_transactions_and_two_saves(
    daemon: Daemon, watcher: Peer
) -> None:
    daemon.tell("fill", guards=[NET], grants=[("squid_t", NET)])
    with _at_once(daemon, [manager_call("Grant", "squid_t", p, {}) for p in PLACES]) as sent:
        ids = _answers(sent)
    assert len(set(ids)) == COUNT
    reached = daemon.tell("reached")
    assert reached["save"] == 2
    assert reached.get("nft", 0) <= 2
    assert "install" not in reached
    rows = {row["id"]: row["destination"] for row in watcher.call("List", {})}
    assert [rows[number] for number in ids] == PLACES


def test_each_of_two_hundred_grants_at_once_is_signalled_before_its_reply(daemon: Daemon) -> None:
    daemon.tell("fill", guards=[NET], grants=[])
    with daemon.peer() as watcher:
        watcher.watch(OURS)
        with _at_once(daemon, [manager_call("Grant", "squid_t", p, {}) for p in PLACES]) as sent:
            ids = _answers(sent)
        watcher.call("List", {})
        added = [bare(message.body) for message in watcher.signals("Added")]
        rows = {row["id"]: row for row in watcher.call("List", {"kind": "grant"})}
    assert sorted(number for number, _ in added) == sorted(ids)
    for number, entry in added:
        assert entry == rows[number]


def test_two_hundred_revokes_at_once_are_signalled_each(daemon: Daemon, watcher: Peer) -> None:
    daemon.tell("fill", guards=[NET], grants=[("squid_t", place) for place in PLACES])
    entries = {row["id"]: row for row in watcher.call("List", {"kind": "grant"})}
    watcher.forget()
    with _at_once(daemon, [manager_call("Revoke", "squid_t", p, {}) for p in PLACES]) as sent:
        assert _answers(sent) == [None] * COUNT
    assert daemon.tell("reached")["save"] == 2
    watcher.call("List", {})
    removed = dict(bare(message.body) for message in watcher.signals("Removed"))
    assert removed == entries


def test_one_bad_change_takes_no_other_of_its_batch_with_it(daemon: Daemon) -> None:
    prepare(daemon)
    calls = [
        manager_call("Guard", "10.1.0.1", {}),
        manager_call("Guard", "10.1.0.2", {}),
        manager_call("Unguard", "10.1.0.99", {}),
        manager_call("Guard", "10.1.0.3", {}),
    ]
    with _at_once(daemon, calls) as sent:
        one, two, bad, three = _answers(sent)
    assert isinstance(bad, Refused)
    assert bad.name == "org.appfwd1.Error.NotFound"
    assert len({one, two, three}) == 3
    assert len(daemon.state()["members"]) == 5


def test_a_batch_that_the_kernel_refuses_is_tried_again_one_by_one(daemon: Daemon) -> None:
    prepare(daemon)
    calls = [manager_call("Guard", f"10.1.0.{number}", {}) for number in range(4)]
    # The first call is alone in its batch, then come three together, then each of them alone.
    with _at_once(daemon, calls, *[("save", "StoreFailed")] * 3) as sent:
        answers = _answers(sent)
    refused = [isinstance(answer, Refused) for answer in answers]
    assert refused[0]
    assert sum(refused) == 2
    assert len(daemon.state()["members"]) == 4


@pytest.mark.parametrize("call", [("Guard", "10.1.0.1", {}), ("Unguard", PLACE, {}), ("Down", {})])
@pytest.mark.parametrize(("place", "error"), [("nft", "TableFailed"), ("save", "StoreFailed")])
def test_what_fails_leaves_the_old_state_in_force_and_no_signal(
    daemon: Daemon, watcher: Peer, call: tuple[Any, ...], place: str, error: str
) -> None:
    prepare(daemon)
    watcher.forget()
    before = daemon.state()
    daemon.fail(place, error, "The kernel said no.")
    with pytest.raises(Refused, match="The kernel said no") as caught:
        watcher.call(*call)
    assert caught.value.name == f"org.appfwd1.Error.{error}"
    after = daemon.state()
    assert {k: after[k] for k in ("members", "settings")} == {
        k: before[k] for k in ("members", "settings")
    }
    assert _elements(after) == _elements(before)
    watcher.alive()
    assert watcher.kept() == []
    assert watcher.get("Problem") == ""


def _elements(state: Any) -> list[Any]:
    return [row["map"]["elem"] for row in state["table"] if "map" in row]


def test_a_module_that_cannot_be_loaded_leaves_the_old_state(daemon: Daemon, root: Peer) -> None:
    prepare(daemon)
    daemon.fail("install", "PolicyLoadFailed", "semodule said no.")
    with daemon.unchanged(), pytest.raises(Refused, match="semodule said no"):
        root.call("Grant", "postgresql_t", PLACE, {})


def test_a_roll_back_that_fails_is_told_as_the_problem_until_a_change_succeeds(
    daemon: Daemon, root: Peer
) -> None:
    prepare(daemon)
    daemon.fail("list", "TableFailed", "nftables is gone.", times=2)
    with pytest.raises(Refused, match="nftables is gone"):
        root.call("Guard", "10.1.0.1", {})
    assert root.get("Problem") == "nftables is gone."
    root.call("Guard", "10.1.0.1", {})
    assert root.get("Problem") == ""


def test_a_change_of_settings_is_signalled_as_a_change_of_properties(
    daemon: Daemon, watcher: Peer
) -> None:
    prepare(daemon)
    expected = []
    for call, name, value in (
        (("SetBridge", "closed", {}), "Bridge", "closed"),
        (("SetBridge", "open", {}), "Bridge", "open"),
        (("Down", {}), "Active", False),
        (("Up", {}), "Active", True),
    ):
        watcher.call(*call)
        expected.append(["org.appfwd1.Manager", {name: value}, []])
    watcher.alive()
    assert [bare(m.body) for m in watcher.signals("PropertiesChanged")] == expected


def test_what_was_there_already_is_not_signalled(daemon: Daemon, watcher: Peer) -> None:
    prepare(daemon)
    watcher.forget()
    watcher.call("Guard", PLACE, {})
    watcher.call("SetBridge", "open", {})
    watcher.call("Up", {})
    watcher.alive()
    assert watcher.kept() == []


def test_a_change_whose_caller_left_is_made_all_the_same(daemon: Daemon, watcher: Peer) -> None:
    with daemon.held("list"), daemon.peer() as leaving:
        leaving.send(manager_call("Guard", "10.1.0.1", {}))
        daemon.wait_reached("list")
        leaving.close()
    assert watcher.wait_signal("Added").body[1]["destination"].value == "10.1.0.1"
