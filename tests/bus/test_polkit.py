"""What the daemon asks of polkit and makes of its answers, with a stand-in that says anything.

The real polkitd authorises root without asking a rule, so only a stand-in can show that the
daemon does not ask it about root at all, and about everybody else for each method.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterator
from typing import Any

import pytest

from appfwd.bus.members import METHODS, PROPERTY_ACTION, Method
from appfwd.errors import Busy, NotAuthorized, Unavailable
from tests.bus.fixtures import NOBODY
from tests.bus.peer import Peer, Refused, body_of, manager_call, property_call
from tests.bus.running import Daemon
from tests.bus.samples import CALLS, prepare
from tests.bus.wire import Message, MessageFlag
from tests.bus.world import ACCOUNTS, POLKIT

Answer = tuple[bool, bool, dict[str, str]]
YES: Answer = (True, False, {})
NO: Answer = (False, False, {})
ASK: Answer = (False, True, {})
INTERACTIVE = MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION
LIST: tuple[Any, ...] = ("List", {})


class StandIn:
    """Owns polkit's name; the test gives its answers."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        assert peer.own(POLKIT) == 1

    def question(self) -> Any:
        """Return the next question."""
        return self._peer.next_call("CheckAuthorization")

    def answer(self, question: Any, answer: Answer) -> None:
        """Answer it."""
        self.reply(Message.new_method_return(question, "(bba{ss})", [list(answer)]))

    def reply(self, message: Any) -> None:
        """Send any reply."""
        self._peer.send(message)

    def leave(self) -> None:
        """Drop dead."""
        self._peer.close()


@pytest.fixture
def polkit(daemon: Daemon) -> Iterator[StandIn]:
    prepare(daemon)
    uid = pwd.getpwnam("polkitd").pw_uid
    with daemon.world.without_polkit(), daemon.peer(uid) as peer:
        yield StandIn(peer)


def _answered(peer: Peer, polkit: StandIn, *answers: Answer) -> Any:
    serial = peer.send(manager_call(*LIST, flags=INTERACTIVE))
    for answer in answers:
        polkit.answer(polkit.question(), answer)
    return body_of(peer.reply_to(serial))[0]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_polkits_no_is_obeyed_for_each_method(
    daemon: Daemon, nobody: Peer, polkit: StandIn, method: Method
) -> None:
    with daemon.unchanged():
        serial = nobody.send(manager_call(method.name, *CALLS[method.name]))
        question = polkit.question()
        assert question.body[1] == method.action
        polkit.answer(question, NO)
        with pytest.raises(Refused, match=method.action) as caught:
            body_of(nobody.reply_to(serial))
    assert caught.value.name == NotAuthorized.dbus_name()


def test_polkits_no_to_the_reading_of_a_property_is_obeyed(nobody: Peer, polkit: StandIn) -> None:
    serial = nobody.send(property_call("GetAll", "org.appfwd1.Manager"))
    polkit.answer(polkit.question(), NO)
    with pytest.raises(Refused, match=PROPERTY_ACTION):
        body_of(nobody.reply_to(serial))


def test_root_is_not_asked_about_and_whoever_comes_next_is(
    root: Peer, nobody: Peer, polkit: StandIn
) -> None:
    assert len(root.call(*LIST)) == 2
    assert root.ask(property_call("GetAll", "org.appfwd1.Manager"))
    nobody.send(manager_call(*LIST))
    ((_, subject), *_) = polkit.question().body
    assert subject["name"].value == nobody.name


def test_the_question_is_about_the_callers_bus_name_and_asks_nobody(
    nobody: Peer, polkit: StandIn
) -> None:
    nobody.send(manager_call(*LIST))
    subject, action, details, flags, cancellation = polkit.question().body
    assert subject[0] == "system-bus-name"
    assert {key: value.value for key, value in subject[1].items()} == {"name": nobody.name}
    assert (action, details, flags, cancellation) == ("org.appfwd1.list", {}, 0, "")


def test_a_person_is_asked_only_where_polkit_says_that_it_takes_one(
    nobody: Peer, polkit: StandIn
) -> None:
    serial = nobody.send(manager_call(*LIST, flags=INTERACTIVE))
    first = polkit.question()
    assert first.body[3] == 0
    polkit.answer(first, ASK)
    second = polkit.question()
    assert second.body[3] == 1
    polkit.answer(second, YES)
    assert len(body_of(nobody.reply_to(serial))[0]) == 2


def test_a_person_is_not_asked_where_the_caller_did_not_wish_it(
    nobody: Peer, polkit: StandIn
) -> None:
    serial = nobody.send(manager_call(*LIST))
    polkit.answer(polkit.question(), ASK)
    with pytest.raises(Refused, match="wants an administrator's password"):
        body_of(nobody.reply_to(serial))


@pytest.mark.parametrize("last", [NO, ASK], ids=["no", "dismissed"])
def test_a_persons_no_is_a_no(nobody: Peer, polkit: StandIn, last: Answer) -> None:
    with pytest.raises(Refused) as caught:
        _answered(nobody, polkit, ASK, last)
    assert caught.value.name == NotAuthorized.dbus_name()


def test_an_error_of_polkits_authorises_nobody(nobody: Peer, polkit: StandIn) -> None:
    serial = nobody.send(manager_call(*LIST))
    error = Message.new_error(polkit.question(), "org.freedesktop.PolicyKit1.Error.Failed", "no")
    polkit.reply(error)
    with pytest.raises(Refused) as caught:
        body_of(nobody.reply_to(serial))
    assert caught.value.name == Unavailable.dbus_name()


@pytest.mark.parametrize(
    ("signature", "body"), [("b", [True]), ("", []), ("(bb)", [[True, True]]), ("s", ["yes"])]
)
def test_an_answer_that_is_no_answer_authorises_nobody(
    nobody: Peer, polkit: StandIn, signature: str, body: list[Any]
) -> None:
    serial = nobody.send(manager_call(*LIST))
    polkit.reply(Message.new_method_return(polkit.question(), signature, body))
    with pytest.raises(Refused) as caught:
        body_of(nobody.reply_to(serial))
    assert caught.value.name == Unavailable.dbus_name()


def test_polkit_dying_under_a_question_authorises_nobody(
    daemon: Daemon, nobody: Peer, polkit: StandIn
) -> None:
    with daemon.unchanged():
        serial = nobody.send(manager_call("Down", {}))
        polkit.question()
        polkit.leave()
        with pytest.raises(Refused) as caught:
            body_of(nobody.reply_to(serial))
    assert caught.value.name == Unavailable.dbus_name()


def test_an_answer_that_nobody_asked_for_is_not_taken(
    daemon: Daemon, nobody: Peer, polkit: StandIn
) -> None:
    with daemon.unchanged(), daemon.peer(NOBODY) as accomplice:
        serial = nobody.send(manager_call("Down", {}))
        question = polkit.question()
        forged = Message.new_method_return(question, "(bba{ss})", [list(YES)])
        accomplice.send(forged)
        accomplice.ask(
            Message(
                destination="org.appfwd1",
                path="/",
                member="Ping",
                interface="org.freedesktop.DBus.Peer",
            )
        )
        polkit.answer(question, NO)
        with pytest.raises(Refused) as caught:
            body_of(nobody.reply_to(serial))
    assert caught.value.name == NotAuthorized.dbus_name()


def test_unanswered_passwords_of_one_user_hold_up_nobody_else(
    daemon: Daemon, root: Peer, nobody: Peer, polkit: StandIn
) -> None:
    for _ in range(8):
        nobody.send(manager_call(*LIST, flags=INTERACTIVE))
        polkit.answer(polkit.question(), ASK)
        assert polkit.question().body[3] == 1
    with pytest.raises(Refused, match="wait for a password already") as caught:
        _answered(nobody, polkit, ASK)
    assert caught.value.name == Busy.dbus_name()
    assert len(root.call(*LIST)) == 2
    with daemon.peer(ACCOUNTS["only-list"]) as other:
        assert len(_answered(other, polkit, YES)) == 2


def test_more_calls_than_the_bus_lets_us_ask_about_at_once_are_all_answered(
    daemon: Daemon, polkit: StandIn
) -> None:
    peers = [daemon.peer(NOBODY) for _ in range(3)]
    calls = [(peer, peer.send(manager_call(*LIST))) for peer in peers for _ in range(100)]
    for _ in calls:
        polkit.answer(polkit.question(), YES)
    assert all(len(body_of(peer.reply_to(serial))[0]) == 2 for peer, serial in calls)
    for peer in peers:
        peer.close()


def test_one_client_may_have_so_many_calls_under_way_and_no_more(
    daemon: Daemon, nobody: Peer, polkit: StandIn
) -> None:
    for _ in range(1024):
        nobody.send(manager_call(*LIST, flags=MessageFlag.NO_REPLY_EXPECTED))
    question = polkit.question()
    with pytest.raises(Refused, match="1024 calls under way") as caught:
        nobody.call(*LIST)
    assert caught.value.name == Busy.dbus_name()
    with daemon.peer(NOBODY) as other:
        serial = other.send(manager_call(*LIST))
        while question.body[0][1]["name"].value == nobody.name:
            polkit.answer(question, NO)
            question = polkit.question()
        polkit.answer(question, YES)
        assert body_of(other.reply_to(serial))
