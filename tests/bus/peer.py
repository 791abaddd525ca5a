"""A blocking D-Bus client for tests: any user, any bytes, one thread.

It stands apart from the library that the daemon uses: only dbus-next's marshalling is taken.
"""

from __future__ import annotations

import io
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from appfwd.bus.members import BUS_NAME, INTERFACE, PATH
from tests.bus.wire import Message, MessageFlag, MessageType, Unmarshaller, Variant

#: Longest wait for anything (seconds); reached only where something hangs.
PATIENCE = 120.0
PROPERTIES = "org.freedesktop.DBus.Properties"
DRIVER = {
    "destination": "org.freedesktop.DBus",
    "path": "/org/freedesktop/DBus",
    "interface": "org.freedesktop.DBus",
}


class Closed(Exception):
    """The bus closed the connection."""


class Refused(Exception):
    """An error reply: its D-Bus name and its text."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text


def options(**values: Any) -> dict[str, Variant]:
    """Return ``values`` as ``a{sv}``."""
    kinds = {bool: "b", int: "i", str: "s", float: "d"}
    return {
        key: value if isinstance(value, Variant) else Variant(kinds[type(value)], value)
        for key, value in values.items()
    }


def bare(value: Any) -> Any:
    """Return ``value`` with every variant taken off."""
    if isinstance(value, Variant):
        return bare(value.value)
    if isinstance(value, dict):
        return {key: bare(part) for key, part in value.items()}
    if isinstance(value, list):
        return [bare(part) for part in value]
    return value


@contextmanager
def _acting_as(uid: int) -> Iterator[None]:
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


class Peer:
    """A connection of user ``uid`` to the bus whose socket is ``path``."""

    def __init__(self, path: str, uid: int = 0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(PATIENCE)
        self._serial = 0
        self._kept: list[Any] = []
        with _acting_as(uid):
            self._socket.connect(path)
        self._socket.sendall(b"\0AUTH EXTERNAL " + str(uid).encode().hex().encode() + b"\r\n")
        answer = self._socket.recv(4096)
        assert answer.startswith(b"OK "), answer
        self._socket.sendall(b"BEGIN\r\n")
        self.name: str = self.ask(Message(**DRIVER, member="Hello"))[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bus, whatever is under way."""
        self._socket.close()

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def marshal(self, message: Any) -> bytes:
        """Give ``message`` a serial and return its bytes."""
        self._serial += 1
        message.serial = self._serial
        return bytes(message._marshall())

    def send(self, message: Any) -> int:
        """Send a message; return its serial."""
        self.send_raw(self.marshal(message))
        return self._serial

    def read(self) -> Any:
        """Return the next message that arrives."""
        head = self._exactly(16)
        order = "<" if head[0] == ord("l") else ">"
        body, fields = struct.unpack_from(f"{order}I4xI", head, 4)
        data = head + self._exactly(-(-fields // 8) * 8 + body)
        return Unmarshaller(io.BytesIO(data)).unmarshall()

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                part = self._socket.recv(count - len(data))
            except ConnectionResetError as error:
                raise Closed from error
            if not part:
                raise Closed
            data += part
        return bytes(data)

    def reply_to(self, serial: int) -> Any:
        """Return the reply to the call with ``serial``; other messages are kept."""
        for number, message in enumerate(self._kept):
            if message.reply_serial == serial:
                return self._kept.pop(number)
        while True:
            message = self.read()
            if message.reply_serial == serial:
                return message
            self._kept.append(message)

    def ask(self, message: Any) -> list[Any]:
        """Send a call; return the body of its reply.

        Raises:
            Refused: the reply is an error.

        """
        return body_of(self.reply_to(self.send(message)))

    def kept(self) -> list[Any]:
        """Return what arrived and was not taken, but for what the bus itself tells."""
        return [m for m in self._kept if m.sender != "org.freedesktop.DBus"]

    def forget(self) -> None:
        """Drop all that the daemon has sent so far."""
        self.alive()
        self._kept.clear()

    def signals(self, *members: str) -> list[Any]:
        """Take the kept signals of these names."""
        found = [m for m in self._kept if m.message_type is MessageType.SIGNAL]
        found = [m for m in found if m.member in members]
        self._kept = [m for m in self._kept if m not in found]
        return found

    def wait_signal(self, member: str) -> Any:
        """Return the next signal of this name."""
        while True:
            for number, message in enumerate(self._kept):
                if message.message_type is MessageType.SIGNAL and message.member == member:
                    return self._kept.pop(number)
            self._kept.append(self.read())

    def watch(self, rule: str) -> None:
        """Ask the bus for messages of a match rule."""
        self.ask(Message(**DRIVER, member="AddMatch", signature="s", body=[rule]))

    def owned(self, name: str) -> bool:
        """Tell whether somebody owns a bus name."""
        call = Message(**DRIVER, member="NameHasOwner", signature="s", body=[name])
        return bool(self.ask(call)[0])

    def own(self, name: str) -> int:
        """Ask for a bus name; 1 is success."""
        call = Message(**DRIVER, member="RequestName", signature="su", body=[name, 4])
        return int(self.ask(call)[0])

    def next_call(self, member: str) -> Any:
        """Return the next call of ``member`` that reaches us, as a service."""
        while True:
            message = self.read()
            if message.message_type is MessageType.METHOD_CALL:
                assert message.member == member
                return message

    def call(self, member: str, *body: Any, flags: MessageFlag = MessageFlag.NONE) -> Any:
        """Call a method of the manager; return its plain result."""
        return bare((self.ask(manager_call(member, *body, flags=flags)) or [None])[0])

    def get(self, name: str) -> Any:
        """Return a property of the manager."""
        return bare(self.ask(property_call("Get", INTERFACE, name))[0])

    def alive(self) -> None:
        """Hold that the daemon answers and is authorised to."""
        self.ask(to_daemon(interface="org.freedesktop.DBus.Peer", member="Ping"))
        assert self.get("Version")


def body_of(reply: Any) -> list[Any]:
    """Return the body of a reply.

    Raises:
        Refused: it is an error.

    """
    if reply.message_type is MessageType.ERROR:
        raise Refused(reply.error_name, str(reply.body[0]) if reply.body else "")
    body: list[Any] = reply.body
    return body


def to_daemon(**fields: Any) -> Any:
    """Return a call to the daemon's object, with other fields as given."""
    return Message(**{"destination": BUS_NAME, "path": PATH, "interface": INTERFACE, **fields})


def property_call(member: str, *body: str) -> Any:
    """Return a call to the daemon's properties."""
    return to_daemon(interface=PROPERTIES, member=member, signature="s" * len(body), body=[*body])


def manager_call(member: str, *body: Any, flags: MessageFlag = MessageFlag.NONE) -> Any:
    """Return a call of a manager's method: texts, truths, lists, and dictionaries for options."""
    kinds: dict[type, str] = {dict: "a{sv}", bool: "b", str: "s", list: "as"}
    signature = "".join(kinds[type(part)] for part in body)
    arguments: Sequence[Any] = [options(**p) if isinstance(p, dict) else p for p in body]
    return to_daemon(member=member, signature=signature, body=list(arguments), flags=flags)
