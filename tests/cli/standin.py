"""A stand-in for the daemon on a real bus, which gives the answers that a test wants.

What appfwctl does with the real daemon's answers is in test_program.py; a stand-in gives those that
the real one gives seldom, and tells what was asked of it.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from appfwd.bus.members import METHODS, PROPERTIES
from appfwd.errors import AppfwdError
from tests.bus.peer import PATIENCE, Peer, bare
from tests.bus.wire import Message, Variant
from tests.bus.world import ROOT, World

Result = subprocess.CompletedProcess[str]
#: A member and what it gives: a value, or an error.
Script = Sequence[tuple[str, object]]
_RESULTS = {method.name: method.result for method in METHODS}
_KINDS = {prop.name: prop.kind for prop in PROPERTIES}
STATUS: Mapping[str, object] = {
    "Active": True,
    "Baseline": False,
    "Bridge": "observed",
    "Deadline": 0.0,
    "Enforcing": True,
    "Problem": "",
    "Strict": False,
    "Version": "9.9",
    "Warnings": [],
}


class StandIn:
    """Owns the daemon's name; ``asked`` are the calls of the last run, with their arguments."""

    def __init__(self, world: World, peer: Peer, proc: Path) -> None:
        self._world, self._peer, self._proc = world, peer, proc
        self.asked: list[tuple[Any, ...]] = []
        assert peer.own("org.appfwd1") == 1

    def run(
        self,
        *arguments: str,
        script: Script = (),
        typed: str | None = None,
        told: str | None = None,
        **more: Any,
    ) -> Result:
        """Run appfwctl and answer its calls as ``script`` says, in this order.

        Its standard input is a terminal where something is ``typed``. ``told`` is what it has in
        SSH_CONNECTION.
        """
        if typed is None:
            return self._end(self.start(*arguments, told=told, **more), script)
        ours, theirs = pty.openpty()
        process = self.start(*arguments, told=told, stdin=theirs, **more)
        os.close(theirs)
        os.write(ours, typed.encode())
        try:
            return self._end(process, script)
        finally:
            os.close(ours)

    def start(self, *arguments: str, told: str | None = None, **more: Any) -> subprocess.Popen[str]:
        """Start appfwctl; standard input is no terminal where it is not given."""
        environment = {k: v for k, v in self._world.environment.items() if k != "SSH_CONNECTION"}
        if told is not None:
            environment["SSH_CONNECTION"] = told
        kept: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(
            [sys.executable, "-m", "tests.cli.over_ssh", str(self._proc), *arguments],
            **{"stdin": subprocess.DEVNULL, **kept, **more},
            text=True,
            env=environment,
            cwd=ROOT,
        )

    def answer(self, member: str, value: object) -> None:
        """Wait for a call and answer it."""
        call = self._peer.next_call(member)
        self.asked.append((member, *bare(call.body)))
        if isinstance(value, AppfwdError):
            self._peer.send(Message.new_error(call, value.dbus_name(), str(value)))
            return
        signature, convert = _form(member)
        body = [convert(value)] if signature else []
        self._peer.send(Message.new_method_return(call, signature, body))

    def _end(self, process: subprocess.Popen[str], script: Script) -> Result:
        self.asked = []
        try:
            for member, value in script:
                self.answer(member, value)
            output, errors = process.communicate(timeout=PATIENCE)
        except Exception:
            process.kill()
            process.communicate()
            raise
        return Result(process.args, process.returncode, output or "", errors or "")


def _form(member: str) -> tuple[str, Callable[[Any], Any]]:
    """Return the signature of a member's answer, and what makes its body of plain values."""
    if member == "GetAll":
        return "a{sv}", lambda value: {k: Variant(_KINDS[k], v) for k, v in value.items()}
    rows: dict[str, Callable[[Any], Any]] = {
        "a{sv}": _variants,
        "aa{sv}": lambda value: [_variants(row) for row in value],
    }
    return _RESULTS[member], rows.get(_RESULTS[member], lambda value: value)


def _variants(row: Mapping[str, Any]) -> dict[str, Variant]:
    return {key: Variant(*_typed(value)) for key, value in row.items()}


def _typed(value: Any) -> tuple[str, Any]:
    """Return the type that the daemon gives a value, and the value for it."""
    if isinstance(value, list):
        rows = bool(value) and isinstance(value[0], dict)
        return ("aa{sv}", [_variants(row) for row in value]) if rows else ("as", value)
    return {bool: "b", int: "x", float: "d", str: "s"}[type(value)], value
