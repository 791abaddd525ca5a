"""Errors keep their class and their sentence all the way to the caller."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appfwd.errors import AppfwdError, all_errors, by_dbus_name
from tests.bus.peer import Peer, Refused
from tests.bus.running import Daemon
from tests.bus.samples import PLACE, prepare

SENTENCE = 'It failed at "x" — 10 %; do that.'
#: Packet types that were loaded for a change that failed stay; no table names them.
SPARE = "module"
ERRORS = pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)


def _through_client(daemon: Daemon, calls: list[list[Any]]) -> list[list[str]]:
    """Have our own client make calls; return the class and text of what each raised."""
    done = daemon.run(daemon.program("tests.bus.ask"), input=json.dumps(calls))
    assert done.returncode == 0, done.stderr
    answers: list[list[str]] = json.loads(done.stdout)
    return answers


@ERRORS
def test_each_error_reaches_a_caller_by_its_name_with_its_sentence(
    daemon: Daemon, root: Peer, kind: type[AppfwdError]
) -> None:
    daemon.fail("nft", kind.__name__, SENTENCE)
    with daemon.unchanged(SPARE), pytest.raises(Refused) as caught:
        root.call("Guard", PLACE, {})
    assert (caught.value.name, caught.value.text) == (kind.dbus_name(), SENTENCE)
    assert by_dbus_name(caught.value.name) is kind


def test_our_client_raises_each_error_as_the_daemon_did(daemon: Daemon) -> None:
    for kind in all_errors():
        daemon.fail("nft", kind.__name__, SENTENCE)
    with daemon.unchanged(SPARE):
        raised = _through_client(daemon, [["Guard", PLACE, {}]] * len(all_errors()))
    assert raised == [[kind.__name__, SENTENCE] for kind in all_errors()]


def test_names_are_unique_and_our_own() -> None:
    names = [kind.dbus_name() for kind in all_errors()]
    assert len(set(names)) == len(names)
    assert all(name.startswith("org.appfwd1.Error.") for name in names)
    assert by_dbus_name("org.freedesktop.DBus.Error.Failed") is None


def test_an_unforeseen_failure_shows_nothing_of_the_inside(daemon: Daemon, root: Peer) -> None:
    daemon.surprised = True
    daemon.fail("nft", "RuntimeError", "secret of the inside")
    with daemon.unchanged(SPARE), pytest.raises(Refused) as caught:
        root.call("Guard", PLACE, {})
    assert caught.value.name == AppfwdError.dbus_name()
    assert "secret" not in caught.value.text
    assert "Traceback" not in caught.value.text
    assert "secret of the inside" in daemon.log.read_text()


def test_an_unforeseen_failure_of_reading_shows_nothing_of_the_inside(
    daemon: Daemon, root: Peer
) -> None:
    daemon.surprised = True
    daemon.fail("list", "RuntimeError", "secret of the inside")
    with pytest.raises(Refused) as caught:
        root.call("GetRules", {})
    assert caught.value.name == AppfwdError.dbus_name()
    assert "secret" not in caught.value.text
    assert root.call("GetRules", {})["total"] == 0


REAL = {
    "no such domain": (("Grant", "mozila_t", PLACE, {}), "UnknownDomain", "Near names: mozilla_t"),
    "an attribute": (("Grant", "domain", PLACE, {}), "UnknownDomain", "is an attribute"),
    "no process": (("Grant", "http_port_t", PLACE, {}), "UnknownDomain", "but of no process"),
    "a bad port": (("Guard", "10.0.0.5:99999", {}), "InvalidDestination", "at character 10"),
    "a bad option": (("Guard", PLACE, {"to": "x"}), "InvalidOption", "direction"),
    "no guard": (("Unguard", "10.0.0.6", {}), "NotFound", "is not guarded"),
    "a wider guard": (("Unguard", "10.0.0.5:3128/tcp", {}), "NotFound", f"wider one.*{PLACE}"),
    "no grant": (("Revoke", "squid_t", PLACE, {}), "NotFound", "has no grant"),
    "a gone domain's": (("Revoke", "gone_t", PLACE, {}), "NotFound", "gone_t has no grant"),
    "the other direction": (("Unguard", PLACE, {"direction": "in"}), "NotFound", "inbound"),
    "no word for what to preview": (("Preview", "bridge", {}), "InvalidArgument", "'bridge-open'"),
    "half a connection": (
        ("Preview", "bridge-closed", {"domain": "sshd_t"}),
        "InvalidOption",
        "go together",
    ),
    "no trial": (("Confirm", {}), "NotFound", "Nothing waits to be confirmed"),
    "an open bridge, strictly": (
        ("SetBridge", "open", {"strict": True}),
        "InvalidOption",
        "'closed' alone",
    ),
    "a time that is over": (("SetBaseline", True, {"for": 0}), "InvalidOption", "from 1 to 86400"),
    "no mode": (("SetBridge", "ajar", {}), "InvalidArgument", "'open', 'observed' or 'closed'"),
}


@pytest.mark.parametrize(("call", "name", "says"), REAL.values(), ids=REAL)
def test_a_refusal_names_what_is_wrong_and_what_to_do(
    daemon: Daemon, root: Peer, call: tuple[Any, ...], name: str, says: str
) -> None:
    prepare(daemon)
    with daemon.unchanged(), pytest.raises(Refused, match=says) as caught:
        root.call(*call)
    assert caught.value.name == f"org.appfwd1.Error.{name}"


@pytest.mark.parametrize(
    "call",
    [
        ("Grant", "mozilla_t", PLACE, {}),
        ("Guard", "10.9.9.9", {}),
        ("AcceptObserved", {}),
        ("SetBridge", "closed", {"for": 60}),
        ("SetBaseline", True, {"for": 60}),
    ],
)
def test_nothing_is_added_while_down(daemon: Daemon, root: Peer, call: tuple[Any, ...]) -> None:
    root.call("Down", {})
    with daemon.unchanged(), pytest.raises(Refused, match="'appfwctl up' first"):
        root.call(*call)


def test_selinux_gone_at_run_time_is_told_as_such(daemon: Daemon, root: Peer) -> None:
    daemon.tell("enforcing", value=None)
    with pytest.raises(Refused, match="SELinux went away") as caught:
        root.get("Enforcing")
    assert caught.value.name == "org.appfwd1.Error.SelinuxDisabled"
