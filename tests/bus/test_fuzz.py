"""Random messages with a fixed seed: bytes turned around, and well-formed nonsense."""

from __future__ import annotations

import random
import string
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appfwd.bus.members import METHODS
from tests.bus.fixtures import NOBODY
from tests.bus.peer import PROPERTIES, Closed, Peer, Refused, manager_call, to_daemon
from tests.bus.running import RAW, Daemon
from tests.bus.samples import CALLS, prepare
from tests.bus.wire import Marshaller, MessageType, Variant

SEED = 20261122
MUTATIONS, NONSENSE = 400, 400
#: A random text may well be the name of a domain that policy has not.
EXPECTED = (
    "org.appfwd1.Error.Invalid",
    "org.appfwd1.Error.UnknownDomain",
    "org.freedesktop.DBus.Error.",
)


@pytest.fixture(autouse=True)
def _settled(daemon: Daemon) -> Iterator[None]:
    prepare(daemon)
    with daemon.unchanged():
        yield
        with daemon.peer() as other:
            other.alive()


def _mutated(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(changed))
        match dice.randrange(4):
            case 0:
                changed[place] = dice.randrange(256)
            case 1:
                changed[place] ^= 1 << dice.randrange(8)
            case 2:
                del changed[place]
            case _:
                changed.insert(place, dice.randrange(256))
    return bytes(changed)


def test_calls_of_nobody_with_bytes_turned_around_change_nothing(daemon: Daemon) -> None:
    dice = random.Random(SEED)  # noqa: S311 - repeatable on purpose
    peer = daemon.peer(NOBODY)
    for number in range(MUTATIONS):
        method = METHODS[number % len(METHODS)]
        try:
            peer.send_raw(
                _mutated(peer.marshal(manager_call(method.name, *CALLS[method.name])), dice)
            )
        except Closed:
            peer.close()
            peer = daemon.peer(NOBODY)
        if number % 8 == 7:  # bytes that are missing would swallow the next message
            peer.close()
            peer = daemon.peer(NOBODY)
    peer.close()


_LETTERS = string.printable + "\u00e9\u2028\U0001f525\x01"


class Nonsense:
    """Makes well-formed values of random types."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def text(self) -> str:
        return "".join(self.dice.choices(_LETTERS, k=self.dice.randrange(30)))

    def kind(self, depth: int = 0) -> str:
        """Return a random complete type."""
        pick = self.dice.randrange(8 if depth < 3 else 5)
        if pick < 5:
            return self.dice.choice("ybnqiuxtdsogv" if depth < 3 else "ybis")
        if pick == 5:
            return "a" + self.kind(depth + 1)
        if pick == 6:
            inner = "".join(self.kind(depth + 1) for _ in range(self.dice.randint(1, 3)))
            return f"({inner})"
        return f"a{{{self.dice.choice('siy')}{self.kind(depth + 1)}}}"

    def value(self, kind: str, depth: int = 0) -> Any:
        """Return a random value of a complete type."""
        dice = self.dice
        if kind in "nqiuxty":
            return dice.randrange(100)
        simple: dict[str, Callable[[], Any]] = {
            "b": lambda: dice.random() < 0.5,
            "d": lambda: dice.choice([0.0, -1.5, float("inf"), float("nan")]),
            "s": self.text,
            "o": lambda: dice.choice(["/", "/org/appfwd1", "/a/b"]),
            "g": lambda: dice.choice(["", "s", "a{sv}"]),
            "ay": lambda: dice.randbytes(dice.randrange(9)),
        }
        if kind in simple:
            return simple[kind]()
        return self._container(kind, depth)

    def _container(self, kind: str, depth: int) -> Any:
        some = range(self.dice.randrange(3))
        if kind == "v":
            inner = self.kind(depth + 1)
            return Variant(inner, self.value(inner, depth + 1))
        if kind[0] == "(":
            return [self.value(part, depth) for part in _parts(kind[1:-1])]
        if kind[1] == "{":
            return {self.value(kind[2]): self.value(kind[3:-1], depth) for _ in some}
        return [self.value(kind[1:], depth) for _ in some]

    def argument(self, kind: str) -> Any:
        """Return nonsense that is right in shape for an argument: a text, texts, or options."""
        if kind == "as":
            return [self.text() for _ in range(self.dice.randrange(4))]
        if kind == "s":
            return self.text()
        inner = self.kind()
        return {self.text(): Variant(inner, self.value(inner))}


def _parts(kinds: str) -> Iterator[str]:
    """Split a signature into complete types."""
    start = depth = 0
    for end, letter in enumerate(kinds, 1):
        depth += (letter in "({") - (letter in ")}")
        if depth == 0 and letter != "a":
            yield kinds[start:end]
            start = end


def _random_call(made: Nonsense) -> Any:
    """Return a call of a real member, its body of another shape or of nonsense."""
    dice = made.dice
    method = dice.choice(METHODS)
    if dice.random() < 0.5 and method.takes[0][1] == "s":
        body = [made.argument(kind) for _, kind in method.takes]
        return to_daemon(member=method.name, signature=method.signature, body=body)
    kinds = [made.kind() for _ in range(dice.randrange(4))] or ["d"]
    fields = dice.choice([{}, {"interface": PROPERTIES}])
    member = dice.choice(["Get", "GetAll", "Set"]) if fields else method.name
    body = [made.value(kind) for kind in kinds]
    return to_daemon(member=member, signature="".join(kinds), body=body, **fields)


def test_well_formed_nonsense_of_root_is_refused_by_name(root: Peer) -> None:
    made = Nonsense(SEED)
    for _ in range(NONSENSE):
        call = _random_call(made)
        with pytest.raises(Refused) as caught:
            root.ask(call)
        name = caught.value.name
        assert name.startswith(EXPECTED), name
        assert not any(word in caught.value.text for word in RAW)


def _message(serial: int, kind: int, flags: int, extra: list[Any], version: int = 1) -> bytes:
    """Return a message with header fields that the marshalling of calls never makes."""
    fields = [
        [1, Variant("o", "/org/appfwd1")],
        [2, Variant("s", "org.appfwd1.Manager")],
        [3, Variant("s", "Up")],
        [6, Variant("s", "org.appfwd1")],
        *extra,
    ]
    head = Marshaller("yyyyuua(yv)", [ord("l"), kind, flags, version, 0, serial, fields])
    data = bytes(head.marshall())
    return data + b"\0" * (-len(data) % 8)


ODD: dict[str, tuple[int, int, list[Any]]] = {
    "unknown flags": (1, 0xF8, []),
    "an unknown header field": (1, 0, [[200, Variant("s", "x")]]),
    "a header field of structure": (1, 0, [[77, Variant("a(sv)", [["x", Variant("y", 1)]])]]),
    "a forged sender": (1, 0, [[7, Variant("s", "org.freedesktop.DBus")]]),
    "a reply's field in a call": (1, 0, [[5, Variant("u", 1)]]),
    "an error's field in a call": (1, 0, [[4, Variant("s", "a.b")]]),
    "file descriptors that are not there": (1, 0, [[9, Variant("u", 3)]]),
    "a field twice": (1, 0, [[3, Variant("s", "Down")]]),
    "an unknown type of message": (5, 0, []),
    "a signal that is also a call": (4, 0, []),
}


@pytest.mark.parametrize(("kind", "flags", "extra"), ODD.values(), ids=ODD)
def test_odd_headers_end_at_the_bus_or_in_a_refusal(
    nobody: Peer, kind: int, flags: int, extra: list[Any]
) -> None:
    nobody.send_raw(_message(99, kind, flags, extra))
    if kind == MessageType.METHOD_CALL.value:
        try:
            reply = nobody.reply_to(99)
        except Closed:
            return
        assert reply.message_type is MessageType.ERROR
        assert not any(word in reply.body[0] for word in RAW)


def test_a_message_that_never_ends_holds_up_nobody(daemon: Daemon, root: Peer) -> None:
    with daemon.peer(NOBODY) as stuck:
        stuck.send_raw(struct.pack("<4BIII", ord("l"), 1, 0, 1, 1 << 20, 9, 64))
        root.alive()
