"""The daemon comes and goes, and so does the bus."""

from __future__ import annotations

import signal

import pytest

from appfwd.errors import AppfwdError, Unavailable
from tests.bus.peer import Refused, manager_call
from tests.bus.running import Daemon
from tests.bus.samples import PLACE, prepare


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_well_and_comes_back_with_all(
    own: Daemon, number: signal.Signals
) -> None:
    prepare(own)
    before = own.state()
    assert own.stop(number) == 0
    own.start()
    assert own.state() == before


def test_killed_between_two_requests_it_comes_back_with_all_that_was_answered(own: Daemon) -> None:
    with own.peer() as root:
        ids = [root.call("Guard", f"10.0.0.{number}", {}) for number in range(3)]
        own.stop(signal.SIGKILL)
        own.start()
        rows = root.call("List", {})
    assert [row["id"] for row in rows] == ids


def test_callers_learn_that_the_daemon_died_under_their_call(own: Daemon) -> None:
    with own.peer() as root:
        own.tell("hold", at="list")
        serial = root.send(manager_call("Guard", PLACE, {}))
        own.wait_reached("list")
        own.stop(signal.SIGKILL)
        reply = root.reply_to(serial)
    assert reply.error_name == "org.freedesktop.DBus.Error.NoReply"


def test_when_the_bus_dies_the_daemon_ends_with_an_error_so_that_systemd_restarts_it(
    own: Daemon,
) -> None:
    own.world.stop()
    assert own.wait() == AppfwdError.exit_status
    log = own.log.read_text()
    assert "The bus was lost" in log
    assert "Traceback" not in log


def test_a_second_daemon_says_that_the_name_is_taken(own: Daemon) -> None:
    second = own.another()
    assert second.returncode == Unavailable.exit_status
    assert "The bus name org.appfwd1 is taken" in second.stderr
    with own.peer() as root:
        root.alive()


def test_without_a_bus_the_daemon_says_so(own: Daemon) -> None:
    own.stop()
    own.world.stop()
    second = own.another()
    assert second.returncode == Unavailable.exit_status
    assert "The system bus cannot be reached" in second.stderr


def test_a_user_cannot_take_the_name_while_the_daemon_is_away(own: Daemon) -> None:
    own.stop()
    with own.peer(65534) as nobody, pytest.raises(Refused, match="AccessDenied"):
        nobody.own("org.appfwd1")


def test_a_state_that_cannot_be_restored_is_told_as_the_problem_and_served(own: Daemon) -> None:
    prepare(own)
    own.stop()
    own.start(("list", "TableFailed"))
    with own.peer() as root:
        assert root.get("Problem") == "It failed."
        assert len(root.call("List", {})) == 2
        root.call("Up", {})
        assert root.get("Problem") == ""


def test_a_client_that_hears_signals_hears_them_of_a_restarted_daemon(own: Daemon) -> None:
    with own.peer() as watcher:
        watcher.watch("type='signal',sender='org.appfwd1'")
        own.stop()
        own.start()
        with own.peer() as root:
            root.call("Guard", PLACE, {})
        assert watcher.wait_signal("Added").body[1]["destination"].value == PLACE
