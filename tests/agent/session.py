"""A session bus, the agent on it, and a notification server that does as it is told."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appfwd.agent.prompts import SETTLED
from tests.bus.peer import DRIVER, PATIENCE, Peer, bare
from tests.bus.running import Daemon
from tests.bus.wire import Message, MessageType
from tests.bus.world import ROOT

NAME, PATH = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
CAPABILITIES = ["actions", "body", "body-markup"]
MODULE = "appfwd.agent.main"
#: The distribution's, without the services that it would start.
_CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
"""


@contextmanager
def session_bus(folder: Path) -> Iterator[str]:
    """Have a session bus, which starts nothing of itself; give the path of its socket."""
    path = folder / "session"
    configuration = folder / "session.conf"
    configuration.write_text(_CONFIGURATION, "ascii")
    address = f"unix:path={path}"
    words = ["dbus-daemon", f"--config-file={configuration}", "--nofork", f"--address={address}"]
    bus = subprocess.Popen(
        [*words, "--print-address=1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert bus.stdout is not None
    assert bus.stdout.readline()
    try:
        yield str(path)
    finally:
        bus.kill()
        bus.wait()
        bus.stdout.close()


@contextmanager
def agent(daemon: Daemon, socket: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the agent until it is registered."""
    made = start(daemon, socket, *arguments)
    try:
        while not daemon.tell("agents"):
            assert made.poll() is None
            time.sleep(0.01)
        yield made
    finally:
        made.kill()
        made.communicate()


def start(daemon: Daemon, socket: str, *arguments: str, uid: int = 0) -> subprocess.Popen[str]:
    """Start the agent."""
    environment = {**daemon.world.environment, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={socket}"}
    return subprocess.Popen(
        daemon.program(MODULE, *arguments, uid=uid),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=ROOT,
    )


class Shown:
    """A notification as the agent asked for it."""

    def __init__(self, number: int, body: list[Any]) -> None:
        self.number = number
        _name, self.replaces, _icon, self.summary, self.body, actions, hints, self.timeout = body
        self.actions = [*zip(actions[::2], actions[1::2], strict=True)]
        self.keys: Mapping[str, str] = {w: key for key, w in self.actions if key != "default"}
        self.hints = bare(hints)


class Server:
    """A notification server on a connection of its own; numbers count from 1."""

    def __init__(
        self, socket: str, capabilities: list[str] = CAPABILITIES, name: str = "scripted"
    ) -> None:
        self.peer = Peer(socket)
        self.capabilities, self.name = capabilities, name
        self.number = 0
        self.closed: list[int] = []
        assert self.peer.own(NAME) == 1

    def close(self) -> None:
        """Leave the bus."""
        self.peer.close()

    def resign(self) -> None:
        """Give the name up, and stay on the bus."""
        self.peer.ask(Message(**DRIVER, member="ReleaseName", signature="s", body=[NAME]))

    def shown(self) -> Shown:
        """Return the next notification that is asked for; other calls are answered meanwhile."""
        while True:
            call = self._next()
            if call.member == "Notify":
                self.number = call.body[1] or self.number + 1
                self._reply(call, "u", self.number)
                return Shown(self.number, call.body)

    def held(self) -> Any:
        """Return the next call of Notify, not answered yet."""
        while True:
            call = self._next()
            if call.member == "Notify":
                return call

    def until_closed(self, number: int) -> None:
        """Answer calls until a notification was closed."""
        while number not in self.closed:
            assert self._next().member != "Notify"

    def quiet(self, seconds: float = 0.4) -> bool:
        """Tell whether nothing more is asked for within some time."""
        self.peer._socket.settimeout(seconds)
        try:
            return bool(self._next().member != "Notify")
        except TimeoutError:
            return True
        finally:
            self.peer._socket.settimeout(PATIENCE)

    def answer(self, call: Any, number: int) -> None:
        """Answer a call of Notify."""
        self._reply(call, "u", number)

    def press(self, shown: Shown, label: str, after: float = SETTLED + 0.1) -> None:
        """Choose an action by its label, some seconds later.

        A server closes the notification then.
        """
        time.sleep(after)
        self.signal("ActionInvoked", "us", shown.number, shown.keys[label])
        self.signal("NotificationClosed", "uu", shown.number, 3)

    def dismiss(self, number: int, reason: int = 2) -> None:
        """Close a notification as a person does."""
        self.signal("NotificationClosed", "uu", number, reason)

    def signal(self, member: str, signature: str, *body: object) -> None:
        self.peer.send(signal_of(member, signature, *body))

    def _next(self) -> Any:
        call = self.peer.read()
        while call.message_type is not MessageType.METHOD_CALL:
            call = self.peer.read()
        if call.member == "GetCapabilities":
            self._reply(call, "as", self.capabilities)
        elif call.member == "GetServerInformation":
            self._reply(call, "ssss", self.name, "appfwd", "1", "1.2")
        elif call.member == "CloseNotification":
            self.closed.append(call.body[0])
            self._reply(call, "")
            self.dismiss(call.body[0], 3)
        return call

    def _reply(self, call: Any, signature: str, *body: object) -> None:
        self.peer.send(Message.new_method_return(call, signature, list(body)))


def signal_of(member: str, signature: str, *body: object) -> Any:
    """Return a signal of a notification server."""
    return Message.new_signal(PATH, NAME, member, signature, list(body))


def stop(process: subprocess.Popen[str]) -> str:
    """Tell an agent to stop; return what it has said."""
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return said
