"""A stand-in for the daemon that asks an agent whatever a test wants, as often as it wants."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from appfwd.bus.members import AGENT_INTERFACE, BUS_NAME, PATH
from appfwd.model.request import Request
from tests.agent.session import start
from tests.bus.peer import Peer, bare
from tests.bus.running import Daemon
from tests.bus.wire import Message, MessageType, Variant
from tests.cli.test_board import ASKED


def question(number: int, **more: Any) -> Request:
    """Return a question that is another one for each number."""
    place = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return replace(ASKED, id=f"q{number}", peer=place, destination=f"{place}:443/tcp", **more)


_KINDS = {str: "s", int: "x", float: "d", tuple: "as"}


def row(one: Request) -> dict[str, Variant]:
    """Return a question as it goes over the bus."""
    return {
        key: Variant(_KINDS[type(value)], [*value] if isinstance(value, tuple) else value)
        for key, value in one.row().items()
    }


class StandIn:
    """Owns the daemon's name for one agent; ``answers`` are the calls of Answer so far."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.agent = ""
        self.answers: list[tuple[Any, ...]] = []
        assert peer.own(BUS_NAME) == 1

    def registered(self) -> None:
        """Take an agent's registration."""
        call = self._peer.next_call("RegisterAgent")
        self.agent = call.sender
        self._peer.send(Message.new_method_return(call, "", []))

    def ask(self, *requests: Request) -> None:
        """Ask."""
        for one in requests:
            self.row(one.id, row(one))

    def row(self, identity: str, row: Mapping[str, Variant]) -> None:
        """Ask with a row of any form."""
        self.tell("Asked", "sa{sv}", identity, dict(row))

    def tell(self, member: str, signature: str, *body: object) -> None:
        """Send the agent a signal."""
        signal = Message.new_signal(PATH, AGENT_INTERFACE, member, signature, list(body))
        signal.destination = self.agent
        self._peer.send(signal)

    def answered(self) -> Any:
        """Return the next call of Answer, not replied to yet."""
        call = self._peer.next_call("Answer")
        self.answers.append(tuple(bare(call.body)))
        return call

    def accept(self, call: Any) -> None:
        """Say that an answer is in force."""
        self._peer.send(Message.new_method_return(call, "a{sv}", [{}]))

    def quiet(self, seconds: float = 0.3) -> bool:
        """Tell whether no call comes within some time."""
        self._peer._socket.settimeout(seconds)
        try:
            return bool(self._peer.read().message_type is not MessageType.METHOD_CALL)
        except TimeoutError:
            return True


@contextmanager
def asking(daemon: Daemon, session: str, *words: str) -> Iterator[tuple[StandIn, Any]]:
    """Have an agent registered with a stand-in, on the bus of a daemon that has ended."""
    with daemon.peer() as peer:
        made = StandIn(peer)
        process: subprocess.Popen[str] = start(daemon, session, *words)
        try:
            made.registered()
            yield made, process
        finally:
            process.kill()
            process.communicate()
