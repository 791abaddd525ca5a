"""The daemon of ``tests.bus.daemon`` as a process, and the test's hold on it."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bus.daemon import FAST, NEXT
from tests.bus.peer import PATIENCE, Peer, to_daemon
from tests.bus.world import ROOT, World

#: Every D-Bus library that is here; dbus-next always is.
LIBRARIES = [NEXT, *([FAST] if importlib.util.find_spec("dbus_fast") else [])]
#: What never stands in the daemon's log, nor in a reply.
RAW = ("Traceback", 'File "', "unforeseen", "never retrieved", "unexpected error")
_PROGRAM = """
import importlib, os, sys
from tests.bus.daemon import use
use(sys.argv.pop(1))
program, uid = importlib.import_module(sys.argv.pop(1)), int(sys.argv.pop(1))
if uid:
    os.setgroups([]), os.setgid(uid), os.setuid(uid)
sys.exit(program.main())
"""


class Daemon:
    """A running daemon on a world's bus."""

    def __init__(self, world: World, library: str) -> None:
        self.world, self.binding = world, library
        self.folder = world.folder / "state"
        self.log = world.folder / "daemon.log"
        #: Holds the id of this boot, as the kernel's own file does.
        self.boot_id = world.folder / "boot_id"
        self.boot_id.write_text("1\n", "ascii")
        self._process: subprocess.Popen[str] | None = None
        #: Whether the test has the daemon run into what it could not foresee.
        self.surprised = False

    def start(self, *faults: tuple[str, str]) -> None:
        """Start the process; return when it has told the service manager that it is ready.

        ``faults`` are places and the errors that they raise first.
        """
        address = self.world.folder / "notify"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, self.log.open("a") as log:
            manager.bind(str(address))
            manager.settimeout(PATIENCE)
            self._process = subprocess.Popen(
                self._command(self.folder, faults),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**self._environment(), "NOTIFY_SOCKET": str(address)},
                cwd=ROOT,
            )
            while b"READY=1" not in self._heard(manager):
                pass

    def _heard(self, manager: socket.socket) -> bytes:
        """Return what the process tells the service manager next; it must not end before."""
        assert self._process is not None
        ended = os.pidfd_open(self._process.pid)
        try:
            watched: list[Any] = [manager, ended]
            ready, _, _ = select.select(watched, [], [], PATIENCE)
        finally:
            os.close(ended)
        if manager not in ready:
            self._process.kill()
            self.wait()
            pytest.fail(f"the daemon did not start:\n{self.log.read_text()[-3000:]}")
        return manager.recv(4096)

    def send_signal(self, number: int) -> None:
        """Send the process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process by a signal; return its exit status."""
        self.send_signal(number)
        return self.wait()

    def _command(self, folder: Path, faults: Sequence[tuple[str, str]] = ()) -> list[str]:
        program = [sys.executable, "-m", "tests.bus.daemon"]
        return [*program, self.binding, str(folder), str(self.boot_id), json.dumps(faults)]

    def _environment(self) -> dict[str, str]:
        environment = self.world.environment
        environment.pop("JOURNAL_STREAM", None)
        return environment

    def another(self) -> subprocess.CompletedProcess[str]:
        """Start a second daemon beside this one, and return how it ended."""
        command = self._command(self.world.folder / "second")
        return self.run(command, env=self._environment(), stdin=subprocess.DEVNULL)

    def wait(self) -> int:
        """Return the exit status when the process has ended of itself."""
        assert self._process is not None
        status = self._process.wait(PATIENCE)
        self._close()
        return status

    def _close(self) -> None:
        process, self._process = self._process, None
        assert process is not None
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def tell(self, what: str, **arguments: Any) -> Any:
        """Have the daemon's control do something; return its answer."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, self.log.read_text()
        answer, error = json.loads(line)
        assert error is None, error
        if what in ("fill", "reset"):  # their signals are out before anybody listens
            with self.peer() as peer:
                peer.ask(to_daemon(interface="org.freedesktop.DBus.Peer", member="Ping"))
        return answer

    def fail(self, at: str, error: str, text: str = "It failed.", times: int = 1) -> None:
        """Have ``at`` raise an error (by its class's name) the next times."""
        self.tell("fail", at=at, error=error, text=text, times=times)

    @contextmanager
    def held(self, at: str) -> Iterator[None]:
        """Hold whoever reaches ``at``."""
        self.tell("hold", at=at)
        yield
        self.tell("release", at=at)

    def wait_reached(self, at: str, times: int = 1) -> None:
        """Return when ``at`` was reached so many times; each question lets the daemon go on."""
        end = time.monotonic() + PATIENCE
        while (found := self.tell("reached").get(at, 0)) < times:
            assert time.monotonic() < end, found

    def wait_queued(self, count: int) -> None:
        """Return when so many changes wait for the writer."""
        end = time.monotonic() + PATIENCE
        while (found := self.tell("queued")) < count:
            assert time.monotonic() < end, found

    def state(self) -> Any:
        """Return the desired state, the table and the module."""
        return self.tell("state")

    @contextmanager
    def unchanged(self, *spare: str) -> Iterator[None]:
        """Hold that nothing changes, neither what is desired nor what is in force.

        ``spare`` are parts of the state that may change.
        """
        before = self.state()
        yield
        after = self.state()
        assert {k: after[k] for k in after if k not in spare} == {
            k: before[k] for k in before if k not in spare
        }

    def peer(self, uid: int = 0) -> Peer:
        """Return a new connection to the bus."""
        return self.world.peer(uid)

    def program(self, module: str, *arguments: str, uid: int = 0) -> list[str]:
        """Return the command that runs a module's ``main`` with this daemon's library.

        Another user takes over when all is imported, since this folder need not be open to them.
        """
        return [sys.executable, "-c", _PROGRAM, self.binding, module, str(uid), *arguments]

    def run(self, command: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a program beside this daemon's bus."""
        kept = {"env": self.world.environment, "cwd": ROOT, "timeout": PATIENCE, **more}
        return subprocess.run(command, capture_output=True, text=True, check=False, **kept)


@contextmanager
def daemon(
    world: World, library: str, make: Callable[[World, str], Daemon] = Daemon
) -> Iterator[Daemon]:
    """Have a daemon with one of the libraries."""
    made = make(world, library)
    made.start()
    try:
        assert made.tell("library") == library
        yield made
        assert made.stop() == 0
    finally:
        if made.running:
            made.stop(signal.SIGKILL)


@contextmanager
def afresh(made: Daemon) -> Iterator[Daemon]:
    """Have the daemon in its first state, and hold that it ran into nothing unforeseen."""
    if not made.running:
        shutil.rmtree(made.folder, ignore_errors=True)
        made.start()
    made.tell("reset")
    made.surprised = False
    with made.log.open() as log:
        log.seek(0, 2)
        yield made
        said = log.read()
    assert made.surprised == any(word in said for word in RAW), said
    assert made.running, Path(made.log).read_text()[-3000:]
