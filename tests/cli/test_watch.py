"""appfwctl watch with the real daemon: on a terminal, in a pipe, as JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.bus.records import deny, observe, refused
from tests.bus.running import Daemon
from tests.bus.samples import ASKED, uid_for
from tests.cli.conftest import MODULE, Run

PATIENCE = 120.0
QUESTION = "mozilla_t (probably curl) wants to reach 10.0.0.80:443/tcp"


class Watching:
    """appfwctl watch, and what it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], end: int) -> None:
        self.process, self._end = process, end
        self.text = ""

    def until(self, text: str, after: str = "") -> None:
        """Read until something was written, after something else."""
        while text not in (self.text.partition(after)[2] if after else self.text):
            assert select.select([self._end], [], [], PATIENCE)[0], self.text
            part = os.read(self._end, 4096)
            assert part, self.text
            self.text += part.decode().replace("\r\n", "\n")

    def type(self, keys: str) -> None:
        """Type, once a question is old enough to be answered."""
        time.sleep(0.6)
        os.write(self._end, keys.encode())


@contextmanager
def on_terminal(daemon: Daemon) -> Iterator[Watching]:
    ours, theirs = pty.openpty()
    command = daemon.program(MODULE, "watch")
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=daemon.world.environment
    )
    os.close(theirs)
    try:
        made = Watching(process, ours)
        made.until("q ends it")
        yield made
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@contextmanager
def in_pipe(daemon: Daemon, *arguments: str, uid: int = 0) -> Iterator[Watching]:
    process = subprocess.Popen(
        daemon.program(MODULE, "watch", *arguments, uid=uid),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=daemon.world.environment,
    )
    assert process.stdout is not None
    try:
        while not daemon.tell("agents"):
            time.sleep(0.01)
        yield Watching(process, process.stdout.fileno())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def granted(daemon: Daemon) -> set[str]:
    return {place for domain, _, place, _ in daemon.state()["members"] if domain == "mozilla_t"}


def test_questions_are_answered_with_single_keys(daemon: Daemon) -> None:
    with on_terminal(daemon) as watching:
        deny(daemon)
        watching.until(QUESTION)
        watching.until("a allow 10 minutes")
        watching.type("a")
        watching.until("granted: 10.0.0.80:443/tcp to mozilla_t, for 10 minutes")
        watching.until("wants to reach 10.0.0.81:8443/tcp")
        watching.type("m")
        watching.until("n always allow 10.0.0.0/24")
        watching.type("b")
        watching.until("blocked, and nobody is asked again: 10.0.0.81:8443/tcp for mozilla_t")
        watching.type("q")
        assert watching.process.wait(PATIENCE) == 0
    assert "10.0.0.80:443/tcp" in granted(daemon)
    assert "10.0.0.81:8443/tcp" not in granted(daemon)


def test_a_key_that_was_typed_before_the_question_answers_it_not(daemon: Daemon) -> None:
    """A program may have itself refused at the moment when somebody types."""
    with on_terminal(daemon) as watching:
        deny(daemon)
        watching.until(QUESTION)
        os.write(watching._end, b"A" * 50)
        watching.type("s")
        watching.until("wants to reach 10.0.0.81:8443/tcp", QUESTION)
        watching.type("q")
        assert watching.process.wait(PATIENCE) == 0
    assert "10.0.0.80:443/tcp" not in granted(daemon)


def test_what_others_answer_is_withdrawn(daemon: Daemon) -> None:
    with on_terminal(daemon) as watching, daemon.peer() as root:
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        watching.until(QUESTION)
        root.call("Answer", ASKED, "allow", {})
        watching.until(f"no longer asked (answered): {QUESTION}")


def test_an_answer_that_fails_says_why(daemon: Daemon) -> None:
    with on_terminal(daemon) as watching:
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        watching.until(QUESTION)
        daemon.fail("save", "StoreFailed", "The disk is full.", times=2)
        watching.type("A")
        watching.until(f"not answered: {QUESTION}: The disk is full.")


def test_denials_and_observations_are_shown_as_they_happen(daemon: Daemon) -> None:
    with on_terminal(daemon) as watching:
        observe(daemon)
        watching.until("observed: mozilla_t to 10.0.0.81:8443/tcp")
        watching.until("observed: sshd_t from 10.0.0.9:22/tcp")
        deny(daemon, [refused("mozilla_t", "10.0.0.7", 99)] * 4)
        watching.until("refused: mozilla_t (probably curl) to 10.0.0.7:99/tcp, 4 times")


def own_terminal() -> None:
    """Make standard input the terminal that signals of the keyboard come from."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_the_terminal_is_as_before_afterwards(daemon: Daemon) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = daemon.program(MODULE, "watch")
    for how in (b"q", b"\x03"):
        process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=daemon.world.environment,
            start_new_session=True,
            preexec_fn=own_terminal,  # noqa: PLW1509 - no thread runs here
        )
        Watching(process, ours).until("q ends it")
        os.write(ours, how)
        assert process.wait(PATIENCE) == (0 if how == b"q" else 130)
        assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def test_in_a_pipe_each_event_is_a_line(daemon: Daemon) -> None:
    with in_pipe(daemon) as watching:
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        watching.until(f"asked {ASKED}: {QUESTION}\n")
        watching.until("refused: mozilla_t (probably curl) to 10.0.0.80:443/tcp\n")
        with daemon.peer() as root:
            root.call("Answer", ASKED, "block", {})
        watching.until(f"withdrawn {ASKED}: blocked\n")


def test_json_is_a_value_a_line(daemon: Daemon) -> None:
    with in_pipe(daemon, "--json") as watching:
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        watching.until('"event": "asked"')
        watching.until('"event": "refused"')
        watching.until("\n", '"event": "refused"')
        rows = [json.loads(line) for line in watching.text.splitlines()]
    found = {row["event"]: row for row in rows}
    assert found["asked"]["id"] == ASKED
    assert found["refused"]["destination"] == "10.0.0.80:443/tcp"


def test_a_user_at_the_machine_gets_the_questions_and_not_what_is_roots(daemon: Daemon) -> None:
    uid = uid_for("org.appfwd1.register-agent")
    daemon.tell("active", users=[uid])
    with in_pipe(daemon, uid=uid) as watching:
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        daemon.tell("active", users=[])
        watching.until(f"withdrawn {ASKED}: session\n")
        assert "refused:" not in watching.text


def test_who_may_not_is_told_so(run: Run) -> None:
    done = run("watch", uid=65534)
    assert done.returncode == 5
    assert "register-agent" in done.stderr


def test_it_goes_on_with_a_daemon_that_comes_back(own: Daemon) -> None:
    with in_pipe(own) as watching:
        deny(own, [refused("mozilla_t", "10.0.0.80", 443)])
        watching.until(f"asked {ASKED}")
        own.stop(signal.SIGKILL)
        watching.until("the daemon has gone")
        own.start()
        while not own.tell("agents"):
            time.sleep(0.01)
        deny(own, [refused("mozilla_t", "10.0.0.82", 443)])
        watching.until("10.0.0.82:443/tcp", "the daemon has gone")


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_without_a_reader_it_ends(daemon: Daemon, arguments: tuple[str, ...]) -> None:
    with in_pipe(daemon, *arguments) as watching:
        assert watching.process.stdout is not None
        watching.process.stdout.close()
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        assert watching.process.wait(PATIENCE) == 0


def test_a_storm_is_shown_in_few_lines(daemon: Daemon) -> None:
    with in_pipe(daemon) as watching:
        deny(daemon, [refused("mozilla_t", f"10.1.{n >> 8}.{n & 255}", 9) for n in range(250)])
        watching.until("refused:")
        time.sleep(1.1)
        deny(daemon, [refused("mozilla_t", "10.9.9.9", 9)])
        watching.until("10.9.9.9")
        assert "more" in watching.text
        assert watching.text.count("refused:") <= 25
