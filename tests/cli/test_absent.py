"""appfwctl where there is no daemon, no SELinux, or no bus."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.bus.peer import PATIENCE, Peer
from tests.bus.wire import Message
from tests.bus.world import ROOT, World

#: selinuxfs there or not, whatever this machine has.
WITH = "mount -t tmpfs none /sys/fs && mkdir /sys/fs/selinux && touch /sys/fs/selinux/enforce"
WITHOUT = "mount -t tmpfs none /sys/fs"


Process = subprocess.Popen[str]


def _start(environment: dict[str, str], selinux: str, *arguments: str) -> Process:
    program = [sys.executable, "-m", "appfwd.cli.main", *arguments]
    inside = ["unshare", "-m", "sh", "-c", f'{selinux} && exec "$@"', "sh", *program]
    return subprocess.Popen(
        inside,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )


def _end(process: Process) -> subprocess.CompletedProcess[str]:
    output, errors = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def _run(world: World, selinux: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return _end(_start(world.environment, selinux, *arguments))


def test_a_daemon_that_does_not_run_is_said_with_what_to_do(empty_bus: World) -> None:
    done = _run(empty_bus, WITH, "list")
    assert (done.returncode, done.stdout) == (14, "")
    assert "Start it with 'systemctl start appfwd'" in done.stderr
    assert "Traceback" not in done.stderr


def test_where_selinux_is_off_that_is_what_is_said(empty_bus: World) -> None:
    done = _run(empty_bus, WITHOUT, "guard", "10.0.0.5")
    assert (done.returncode, done.stdout) == (6, "")
    assert "SELinux is off on this machine" in done.stderr
    assert "selinux-activate" in done.stderr


def test_where_there_is_no_bus_that_is_what_is_said(empty_bus: World) -> None:
    nowhere = {**empty_bus.environment, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"}
    done = _end(_start(nowhere, WITH, "list"))
    assert done.returncode == 14
    assert done.stderr.startswith("appfwctl: The system bus cannot be reached")


@contextmanager
def _impostor(world: World) -> Iterator[Peer]:
    with world.peer() as peer:
        assert peer.own("org.appfwd1") == 1
        yield peer


ANSWERS = {
    "systemd has no such unit": ("org.freedesktop.systemd1.NoSuchUnit", 14, "systemctl start"),
    "systemd refuses": ("org.freedesktop.systemd1.UnitMasked", 14, "systemctl start"),
    "the bus refuses": ("org.freedesktop.DBus.Error.AccessDenied", 14, "The bus refused"),
    "the daemon dies": ("org.freedesktop.DBus.Error.NoReply", 14, "journalctl -u appfwd"),
    "a newer daemon's error": ("org.appfwd1.Error.Novel", 1, "Something happened."),
    "somebody else's error": ("com.example.Error", 1, "Something happened."),
}


@pytest.mark.parametrize(("name", "status", "said"), ANSWERS.values(), ids=ANSWERS)
def test_errors_that_are_not_of_our_daemon_have_their_status(
    empty_bus: World, name: str, status: int, said: str
) -> None:
    with _impostor(empty_bus) as peer:
        process = _start(empty_bus.environment, WITH, "up")
        peer.send(Message.new_error(peer.next_call("Up"), name, "Something happened."))
        done = _end(process)
    assert done.returncode == status
    assert said in done.stderr
    assert "Something happened." in done.stderr


def test_a_daemon_that_leaves_under_a_call_is_said_to_have_gone(empty_bus: World) -> None:
    with _impostor(empty_bus) as peer:
        process = _start(empty_bus.environment, WITH, "up")
        peer.next_call("Up")
        peer.close()
        done = _end(process)
    assert done.returncode == 14
    assert "The daemon does not answer" in done.stderr
