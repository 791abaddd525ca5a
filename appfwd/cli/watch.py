"""``appfwctl watch``: what is refused and observed, as it happens, and questions to be answered.

On a terminal questions are answered with single keys. Elsewhere every event is one line, of JSON
with ``--json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from appfwd.bus.asking import Asking
from appfwd.cli.answer import Answer
from appfwd.cli.board import Board, Reply, question
from appfwd.cli.console import for_people, interactive, say
from appfwd.errors import AppfwdError, Unavailable
from appfwd.model.request import Request, harmless

#: Lines of denials and observations within a second; more are counted.
_LINES_AT_MOST = 20
_EVENTS = {"Denied": "refused", "Observed": "observed"}
_END = {"q", "\x04"}
#: Seconds for which keys answer nothing after another question is there: they were meant for
#: the one before.
_SETTLES = 0.5


async def watch(arguments: argparse.Namespace) -> Answer:
    """Show what happens until told to stop.

    Raises:
        AppfwdError: nothing can be heard, or asked.

    """
    answering = for_people() and interactive() and not arguments.json
    watcher = Watcher(as_json=arguments.json, answering=answering)
    watcher.asking = await Asking.connect(watcher, *_EVENTS)
    await watcher.asking.register()
    with _keys(watcher.typed) if answering else _nothing():
        watcher.begin()
        lost = asyncio.ensure_future(watcher.asking.wait())
        await asyncio.wait({lost, watcher.ended}, return_when=asyncio.FIRST_COMPLETED)
    if not watcher.ended.done():
        raise Unavailable("The bus closed the connection.")
    return Answer("", None)


class Watcher:
    """Takes what the daemon tells and a person types, and writes lines."""

    asking: Asking

    def __init__(self, *, as_json: bool, answering: bool) -> None:
        self._json, self._answering = as_json, answering
        self._board = Board()
        self._second, self._lines, self._left_out = 0, 0, 0
        self._shown: Request | None = None
        self._since = 0.0
        self._replies: set[asyncio.Task[None]] = set()
        #: Done when there is nothing more to do.
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        """Say what will be seen."""
        if self._answering:
            self._write("watching what is refused; q ends it")

    def asked(self, request: Request) -> None:
        """Show a question."""
        if self._json:
            self._event("asked", request.row())
        elif not self._answering:
            self._write(f"asked {request.id}: {question(request)}")
        elif self._board.asked(request):
            self._show()
        else:
            self._write_keys()

    def withdrawn(self, identity: str, why: str) -> None:
        """Show that a question is no more."""
        if self._json:
            self._event("withdrawn", {"id": identity, "why": why})
        elif not self._answering:
            self._write(f"withdrawn {identity}: {harmless(why)}")
        else:
            current = self._board.current
            gone = self._board.withdrawn(identity)
            if gone is not None:
                self._write(f"no longer asked ({harmless(why)}): {question(gone)}")
                if gone is current:
                    self._show()
                else:
                    self._write_keys()

    def told(self, signal: str, body: list[Any]) -> None:
        """Show denials or observations."""
        for row in body[0] if signal in _EVENTS else ():
            if self._json:
                self._event(_EVENTS[signal], row)
            elif self._has_room():
                self._write(_line(_EVENTS[signal], row))
        self._write_keys()

    def lost(self) -> None:
        """Take all questions away, and say so."""
        self._board.clear()
        if self._json:
            self._event("lost", {})
        else:
            self._write("the daemon has gone; nothing is asked until it is back")

    def typed(self, keys: str) -> None:
        """Take what a person types; nothing at all is the end."""
        for key in keys or "q":
            if key in _END:
                self._end()
                return
            before = self._board.current
            if time.monotonic() < self._since + _SETTLES and key not in "sm":
                continue
            reply = self._board.key(key)
            if reply is not None:
                task = asyncio.ensure_future(self._reply(reply))
                self._replies.add(task)
                task.add_done_callback(self._replies.discard)
            if reply is not None or key == "m" or self._board.current is not before:
                self._show()

    async def _reply(self, reply: Reply) -> None:
        try:
            answered = await self.asking.answer(reply.request.id, reply.answer, reply.options)
            self._write(reply.text(answered))
        except AppfwdError as error:
            self._write(f"not answered: {question(reply.request)}: {error}")
        self._write_keys()

    def _show(self) -> None:
        if self._board.current is not self._shown:
            self._shown, self._since = self._board.current, time.monotonic()
        for line in self._board.lines():
            self._write(line)

    def _write_keys(self) -> None:
        keys = self._board.keys()
        if keys:
            self._write(keys)

    def _has_room(self) -> bool:
        """Tell whether one more line of a storm is shown; say how many were not."""
        second = int(time.monotonic())
        if second != self._second:
            left_out, self._second, self._lines, self._left_out = self._left_out, second, 0, 0
            if left_out:
                self._write(f"... and {left_out} more")
        self._lines += 1
        self._left_out += self._lines > _LINES_AT_MOST
        return self._lines <= _LINES_AT_MOST

    def _event(self, event: str, row: Mapping[str, Any]) -> None:
        self._write(json.dumps({"event": event, **row}, sort_keys=True, allow_nan=False))

    def _write(self, line: str) -> None:
        if not say(line + "\n"):
            self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def _line(event: str, row: Mapping[str, Any]) -> str:
    program = harmless(str(row.get("program", "")))
    who = f"{harmless(str(row['domain']))}{f' (probably {program})' if program else ''}"
    count = int(row.get("count", 1))
    times = f", {count} times" if count > 1 else ""
    place = harmless(str(row["destination"]))
    return f"{event}: {who} {'from' if row['direction'] == 'in' else 'to'} {place}{times}"


@contextmanager
def _keys(typed: Callable[[str], None]) -> Iterator[None]:
    """Give single keys to ``typed`` while this lasts; the terminal is as before afterwards."""
    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            data = os.read(stdin, 1024)
        except OSError:  # the terminal went away
            data = b""
        typed(data.decode("ascii", "ignore") if data else "")

    tty.setcbreak(stdin)
    loop.add_reader(stdin, read)
    try:
        yield
    finally:
        loop.remove_reader(stdin)
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
