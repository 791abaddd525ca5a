"""Who may do what: each method and property against real polkit, from accounts of every kind.

No account but root may do two things by the rules of these tests (``appfwd.rules``).
"""

from __future__ import annotations

import pytest

from appfwd.bus.members import INTERFACE, METHODS, PROPERTIES, PROPERTY_ACTION, Method
from appfwd.errors import NotAuthorized, Unavailable
from tests.bus.fixtures import NOBODY
from tests.bus.peer import Peer, Refused, manager_call, property_call
from tests.bus.running import Daemon
from tests.bus.samples import CALLS, CHANGING, prepare, uid_for
from tests.bus.wire import MessageFlag
from tests.bus.world import ACCOUNTS, ALLOWED

BY_NAME = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
READS = [("Get", INTERFACE, prop.name) for prop in PROPERTIES] + [("GetAll", INTERFACE)]


def _refused(peer: Peer, method: Method, flags: MessageFlag = MessageFlag.NONE) -> Refused:
    with pytest.raises(Refused) as caught:
        peer.call(method.name, *CALLS[method.name], flags=flags)
    return caught.value


@BY_NAME
def test_a_user_without_a_rule_is_refused_each_method_and_nothing_changes(
    daemon: Daemon, nobody: Peer, method: Method
) -> None:
    prepare(daemon, method.name)
    with daemon.unchanged():
        refusal = _refused(nobody, method)
    assert refusal.name == NotAuthorized.dbus_name()
    assert method.action in refusal.text


@BY_NAME
def test_a_rule_for_one_action_lets_its_user_do_that(daemon: Daemon, method: Method) -> None:
    prepare(daemon, method.name)
    before = daemon.state()
    with daemon.peer(uid_for(method.action)) as peer:
        peer.call(method.name, *CALLS[method.name])
    assert (daemon.state() != before) == (method.name in CHANGING)


@pytest.mark.parametrize("account", sorted(ALLOWED))
def test_a_rule_for_one_action_lets_its_user_do_nothing_else(daemon: Daemon, account: str) -> None:
    prepare(daemon)
    others = [method for method in METHODS if method.action != ALLOWED[account]]
    with daemon.unchanged(), daemon.peer(ACCOUNTS[account]) as peer:
        assert {_refused(peer, method).name for method in others} == {NotAuthorized.dbus_name()}


@BY_NAME
def test_root_may_do_everything(daemon: Daemon, root: Peer, method: Method) -> None:
    prepare(daemon, method.name)
    before = daemon.state()
    root.call(method.name, *CALLS[method.name])
    assert (daemon.state() != before) == (method.name in CHANGING)


@pytest.mark.parametrize("read", READS, ids=lambda read: read[-1])
def test_reading_a_property_takes_the_action_status(
    daemon: Daemon, nobody: Peer, read: tuple[str, ...]
) -> None:
    with pytest.raises(Refused) as caught:
        nobody.ask(property_call(*read))
    assert caught.value.name == NotAuthorized.dbus_name()
    assert PROPERTY_ACTION in caught.value.text
    with daemon.peer(uid_for(PROPERTY_ACTION)) as peer:
        assert peer.ask(property_call(*read))


def test_a_refusal_says_what_to_do_when_a_password_would_help(nobody: Peer) -> None:
    with pytest.raises(Refused, match=r"nobody could be asked\. Run it as root"):
        nobody.call("Down", {}, flags=MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION)


def test_the_wish_for_a_password_prompt_does_not_authorise(daemon: Daemon, nobody: Peer) -> None:
    prepare(daemon)
    with daemon.unchanged():
        for method in METHODS:
            refusal = _refused(nobody, method, MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION)
            assert refusal.name == NotAuthorized.dbus_name()


def test_a_call_that_wants_no_reply_needs_authorisation_too(daemon: Daemon, nobody: Peer) -> None:
    prepare(daemon)
    with daemon.unchanged():
        for method in METHODS:
            call = manager_call(
                method.name, *CALLS[method.name], flags=MessageFlag.NO_REPLY_EXPECTED
            )
            nobody.send(call)
        with pytest.raises(Refused):  # the daemon has taken all before by then
            nobody.call("Down", {})


def test_authorisation_comes_before_arguments_are_looked_at(daemon: Daemon, nobody: Peer) -> None:
    with daemon.unchanged(), pytest.raises(Refused) as caught:
        nobody.call("Grant", "no such domain", "no destination", {"no": "option"})
    assert caught.value.name == NotAuthorized.dbus_name()


def test_without_polkit_nobody_but_root_is_authorised(daemon: Daemon) -> None:
    prepare(daemon)
    accounts = [NOBODY, ACCOUNTS["only-down"]]
    with daemon.world.without_polkit(), daemon.unchanged():
        for uid in accounts:
            with daemon.peer(uid) as peer:
                for method in METHODS:
                    assert _refused(peer, method).name == Unavailable.dbus_name()
                with pytest.raises(Refused, match="polkit does not answer"):
                    peer.get("Version")


@BY_NAME
def test_without_polkit_root_may_do_everything(daemon: Daemon, method: Method) -> None:
    prepare(daemon, method.name)
    before = daemon.state()
    with daemon.world.without_polkit(), daemon.peer() as root:
        root.call(method.name, *CALLS[method.name])
    assert (daemon.state() != before) == (method.name in CHANGING)


def test_when_polkit_is_back_so_is_authorisation(daemon: Daemon) -> None:
    with daemon.world.without_polkit():
        pass
    with daemon.peer(uid_for(PROPERTY_ACTION)) as peer:
        assert peer.get("Version")


def test_nobody_but_root_may_own_the_bus_name(daemon: Daemon, nobody: Peer) -> None:
    with pytest.raises(Refused, match="AccessDenied"):
        nobody.own("org.appfwd1.Other")
    with pytest.raises(Refused, match="AccessDenied"):
        nobody.own("org.appfwd1")
    assert daemon.running
