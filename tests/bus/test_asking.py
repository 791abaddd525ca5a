"""Agents and answers on the real bus, with real polkit: who is asked, who may answer, and what."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from appfwd.errors import Busy, InvalidArgument, InvalidOption, NotAuthorized, NotFound
from tests.bus.peer import DRIVER, Peer, Refused, bare, body_of, manager_call
from tests.bus.records import OURS, deny, refused
from tests.bus.running import Daemon
from tests.bus.samples import ASKED, uid_for
from tests.bus.wire import Message, MessageType

HOST = "10.0.0.80:443/tcp"


@pytest.fixture(autouse=True)
def _nobody_active(daemon: Daemon) -> Iterator[None]:
    yield
    daemon.tell("active", users=[])


def told(peer: Peer, count: int) -> list[tuple[str, str]]:
    """Return the next signals to an agent: name, and the place or the reason."""
    found: list[tuple[str, str]] = []
    while len(found) < count:
        for message in [*peer.signals("Asked", "Withdrawn"), peer.read()]:
            if message.interface == "org.appfwd1.Agent":
                body = bare(message.body[1])
                found.append(
                    (message.member, body["destination"] if message.member == "Asked" else body)
                )
    return found


def silent(peer: Peer) -> bool:
    """Tell whether an agent was told nothing more."""
    peer.ask(Message(**DRIVER, member="GetId"))  # all that the daemon sent before is here by then
    return not peer.signals("Asked", "Withdrawn")


def test_an_agent_is_asked_and_its_answer_is_in_force(daemon: Daemon, root: Peer) -> None:
    root.call("RegisterAgent", {})
    deny(daemon)
    assert told(root, 2) == [("Asked", HOST), ("Asked", "10.0.0.81:8443/tcp")]
    answered = root.call("Answer", ASKED, "allow", {"for": 600})
    assert answered["destination"] == HOST
    rows = root.call("List", {"kind": "grant"})
    (row,) = (row for row in rows if row["id"] == answered["id"])
    assert row["ends"] > 0
    with pytest.raises(Refused) as again:
        root.call("Answer", ASKED, "allow", {})
    assert again.value.name == NotFound.dbus_name()


def test_only_agents_are_told_and_only_those_of_who_is_there(daemon: Daemon, root: Peer) -> None:
    uid = uid_for("org.appfwd1.register-agent")
    with daemon.peer(uid) as agent, daemon.peer() as other:
        agent.call("RegisterAgent", {})
        root.call("RegisterAgent", {})
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        assert told(root, 1) == [("Asked", HOST)]
        daemon.tell("active", users=[uid])
        assert told(agent, 1) == [("Asked", HOST)]
        daemon.tell("active", users=[])
        assert told(agent, 1) == [("Withdrawn", "session")]
        root.call("Answer", ASKED, "block", {})
        for peer in (agent, other, root):
            assert silent(peer)


def test_an_agent_that_leaves_or_says_so_is_none_any_more(daemon: Daemon) -> None:
    with daemon.peer() as one, daemon.peer() as other:
        one.call("RegisterAgent", {})
        other.call("RegisterAgent", {})
        assert daemon.tell("agents") == [0, 0]
        one.call("UnregisterAgent", {})
        assert daemon.tell("agents") == [0]
    while daemon.tell("agents"):
        pass


def test_a_user_has_few_agents(daemon: Daemon) -> None:
    peers = [daemon.peer() for _ in range(9)]
    try:
        for peer in peers[:8]:
            peer.call("RegisterAgent", {})
        with pytest.raises(Refused) as caught:
            peers[8].call("RegisterAgent", {})
        assert caught.value.name == Busy.dbus_name()
    finally:
        for peer in peers:
            peer.close()


def test_who_may_answer_may_not_allow_more_and_the_other_way_about(daemon: Daemon) -> None:
    narrow, wide = uid_for("org.appfwd1.answer"), uid_for("org.appfwd1.answer-wider")
    deny(daemon)
    with daemon.peer(narrow) as one, daemon.peer(wide) as other:
        for scope in ("host", "port", "network"):
            with daemon.unchanged(), pytest.raises(Refused) as caught:
                one.call("Answer", ASKED, "allow", {"scope": scope})
            assert caught.value.name == NotAuthorized.dbus_name()
            assert "answer-wider" in caught.value.text
        with daemon.unchanged(), pytest.raises(Refused) as caught:
            other.call("Answer", ASKED, "allow", {"scope": "place"})
        assert caught.value.name == NotAuthorized.dbus_name()
        answered = other.call("Answer", ASKED, "allow", {"scope": "network"})
        assert answered["destination"] == "10.0.0.0/24"


@pytest.mark.parametrize(
    ("answer", "options", "error"),
    [
        ("maybe", {}, InvalidArgument),
        ("allow", {"scope": "world"}, InvalidOption),
        ("allow", {"scope": "domain"}, InvalidOption),
        ("block", {"for": 5}, InvalidOption),
        ("allow", {"for": 5, "boot": True}, InvalidOption),
        ("allow", {"for": -5}, InvalidOption),
        ("allow", {"scope": 5}, InvalidOption),
        ("allow", {"session": "77777"}, InvalidOption),
    ],
)
def test_a_wrong_answer_changes_nothing(
    daemon: Daemon, root: Peer, answer: str, options: dict[str, object], error: type
) -> None:
    deny(daemon)
    with daemon.unchanged(), pytest.raises(Refused) as caught:
        root.call("Answer", ASKED, answer, options)
    assert caught.value.name == error.dbus_name()  # type: ignore[attr-defined]
    assert root.call("Answer", ASKED, "allow", {})["answer"] == "allow"


@pytest.mark.parametrize("identity", ["", "x", ASKED[:-1], ASKED.upper(), "\u202e", "a" * 100_000])
def test_an_id_that_is_not_asked_is_not_answered(daemon: Daemon, root: Peer, identity: str) -> None:
    deny(daemon)
    with daemon.unchanged(), pytest.raises(Refused) as caught:
        root.call("Answer", identity, "allow", {})
    assert caught.value.name == NotFound.dbus_name()


def test_who_may_not_answer_does_not_learn_what_is_asked(daemon: Daemon, nobody: Peer) -> None:
    """An id is a digest that anybody can make."""
    texts = set()
    deny(daemon)
    for identity in (ASKED, ASKED[::-1]):
        with pytest.raises(Refused) as caught:
            nobody.call("Answer", identity, "allow", {})
        texts.add((caught.value.name, caught.value.text))
    ((name, _),) = texts
    assert name == NotAuthorized.dbus_name()


def test_a_block_is_quiet_until_it_is_taken_back(daemon: Daemon, root: Peer) -> None:
    deny(daemon)
    root.call("Answer", ASKED, "block", {"scope": "domain"})
    assert root.call("ListPending", {}) == []
    assert {r["destination"] for r in root.call("ListBlocked", {})} == {"any"}
    deny(daemon)
    assert root.call("ListPending", {}) == []
    assert all(row["blocked"] for row in root.call("ListDenied", {}))
    for direction in ("out", "in"):
        root.call("Unblock", "mozilla_t", "any", {"direction": direction})
    deny(daemon)
    assert len(root.call("ListPending", {})) == 2


def test_denials_are_signalled_to_root(daemon: Daemon, root: Peer) -> None:
    root.watch("type='signal',sender='org.appfwd1',member='Denied'")
    deny(daemon, [refused("mozilla_t", "10.0.0.7", 443)] * 3)
    (row,) = bare(root.wait_signal("Denied").body[0])
    assert row == {
        "domain": "mozilla_t",
        "direction": "out",
        "destination": "10.0.0.7:443/tcp",
        "count": 3,
        "program": "curl",
    }


def test_what_is_asked_survives_a_restart_and_a_kill(own: Daemon) -> None:
    deny(own)
    with own.peer() as root:
        root.call("ListDenied", {})  # what waited is stored by then
        root.call("Answer", ASKED, "block", {})
    for number in (signal.SIGTERM, signal.SIGKILL):
        own.stop(number)
        own.start()
        with own.peer() as root:
            rows = [row["destination"] for row in root.call("ListPending", {})]
            assert rows == ["10.0.0.81:8443/tcp"]
            assert len(root.call("ListBlocked", {})) == 1


def test_a_forged_leave_of_an_agent_is_not_believed(
    daemon: Daemon, root: Peer, nobody: Peer
) -> None:
    root.call("RegisterAgent", {})
    forged = Message(
        message_type=MessageType.SIGNAL,
        destination="org.appfwd1",
        path="/org/freedesktop/DBus",
        interface="org.freedesktop.DBus",
        member="NameOwnerChanged",
        signature="sss",
        body=[root.name, root.name, ""],
    )
    nobody.send(forged)
    with pytest.raises(Refused):
        nobody.call("List", {})
    assert daemon.tell("agents") == [0]


def test_inbound_is_asked_with_its_local_port(daemon: Daemon, root: Peer) -> None:
    deny(daemon, [refused("mozilla_t", "10.0.0.9", 8080, inbound=True)])
    (row,) = root.call("ListPending", {})
    assert (row["direction"], row["destination"]) == ("in", "10.0.0.9:8080/tcp")
    assert OURS not in row["destination"]


@pytest.mark.parametrize("held", ["read", "save"])
def test_of_two_answers_at_once_one_alone_counts(daemon: Daemon, root: Peer, held: str) -> None:
    """Whatever the first one waits for: the policy to be asked, or the store."""
    deny(daemon)
    daemon.tell("hold", at=held)
    if held == "read":
        daemon.tell("domains", names=["mozilla_t", "squid_t"])  # the policy is asked anew
    with daemon.peer() as other:
        first = root.send(manager_call("Answer", ASKED, "allow", {}))
        end = time.monotonic() + 2
        while not daemon.tell("answering") and time.monotonic() < end:
            pass
        for answer in ("block", "allow"):
            with pytest.raises(Refused) as caught:
                other.call("Answer", ASKED, answer, {})
            assert caught.value.name == NotFound.dbus_name()
        daemon.tell("release", at=held)
        assert bare(body_of(root.reply_to(first))[0])["answer"] == "allow"
    assert root.call("ListBlocked", {}) == []
