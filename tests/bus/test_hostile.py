"""Hostile callers: each gets a named error, nothing changes, and the daemon lives."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from appfwd.errors import InvalidArgument, all_errors
from tests.bus.peer import (
    PROPERTIES,
    Closed,
    Peer,
    Refused,
    bare,
    body_of,
    manager_call,
    to_daemon,
)
from tests.bus.running import RAW, Daemon
from tests.bus.samples import PLACE, prepare
from tests.bus.wire import Message, MessageFlag, MessageType, Variant

DBUS = "org.freedesktop.DBus.Error."
OURS = {cls.dbus_name() for cls in all_errors() if issubclass(cls, InvalidArgument)}
#: Nesting that the bus itself just lets through (64 levels with the dictionary around it).
DEEPEST = 61


@pytest.fixture(autouse=True)
def _settled(daemon: Daemon) -> Any:
    prepare(daemon)
    with daemon.unchanged():
        yield
        with daemon.peer() as other:
            other.alive()


def _refusal(peer: Peer, message: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        peer.ask(message)
    assert not any(word in caught.value.text for word in RAW)
    assert len(caught.value.text) < 1000
    return caught.value


def _nested(depth: int) -> Variant:
    value = Variant("s", "in")
    for _ in range(depth):
        value = Variant("v", value)
    return value


HUGE = "a" * (1 << 20)
TEXTS = {
    "empty": "",
    "a megabyte": HUGE,
    "a quote": 'mozilla_t" } add table inet x; #',
    "an apostrophe": "mozilla_t' ; rm -rf /",
    "parentheses": "mozilla_t)) (allow a b (packet (send",
    "a line feed": "mozilla_t\nsquid_t",
    "control characters": "\x01\x1b[31m\x7f",
    "a written NUL": "mozilla_t\\0",
    "a null symbol": "mozilla_t\u2400",
    "a letter of another script": "m\u043ezilla_t",
    "text that turns direction": "\u202emozilla_t",
    "a byte order mark": "\ufeffmozilla_t",
    "a space": "mozilla_t ",
    "a host's name": "localhost:80",
    "a digit of another script": "10.0.0.\u0665:80",
    "a colon in front": ":80",
    "a zone": "[fe80::1%eth0]:80",
    "a format": "%s%n{0}",
    "a path": "../../etc/passwd",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_of_no_grammar_is_refused_in_every_place(root: Peer, text: str) -> None:
    calls = [
        manager_call("Grant", text, PLACE, {}),
        manager_call("Grant", "mozilla_t", text, {}),
        manager_call("Revoke", text, PLACE, {}),
        manager_call("Revoke", "mozilla_t", text, {}),
        manager_call("Guard", text, {}),
        manager_call("Unguard", text, {}),
        manager_call("Explain", text, PLACE, {}),
        manager_call("Explain", "mozilla_t", text, {}),
        manager_call("SetBridge", text, {}),
        manager_call("Guard", PLACE, {"direction": text}),
        manager_call("List", {text: text}),
    ]
    assert {_refusal(root, call).name for call in calls} <= OURS


def test_a_filter_that_fits_nothing_lists_nothing(root: Peer) -> None:
    for text in filter(None, TEXTS.values()):
        assert root.call("List", {"domain": text}) == []


def test_a_filter_of_no_known_kind_or_direction_is_refused(root: Peer) -> None:
    for key in ("kind", "direction"):
        for text in filter(None, TEXTS.values()):
            call = manager_call("List", {key: text})
            assert _refusal(root, call).name == "org.appfwd1.Error.InvalidOption"


OPTIONS = {
    "an unknown key": {"colour": Variant("s", "red")},
    "a key in capitals": {"Direction": Variant("s", "in")},
    "an empty key": {"": Variant("s", "in")},
    "a number for a text": {"direction": Variant("i", 1)},
    "a truth for a text": {"direction": Variant("b", value=True)},
    "a list for a text": {"direction": Variant("as", ["in"])},
    "bytes for a text": {"direction": Variant("ay", b"in")},
    "a variant in a variant": {"direction": _nested(1)},
    "variants as deep as the bus lets": {"direction": _nested(DEEPEST)},
    "a dictionary": {"direction": Variant("a{sv}", {"in": Variant("s", "in")})},
    "a struct": {"direction": Variant("(ss)", ["in", "in"])},
    "twenty thousand keys": {f"key{n}": Variant("s", "in") for n in range(20_000)},
}


@pytest.mark.parametrize("given", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("member", ["Guard", "Unguard"])
def test_options_are_a_closed_list_of_fixed_types(
    root: Peer, member: str, given: dict[str, Any]
) -> None:
    message = to_daemon(member=member, signature="sa{sv}", body=[PLACE, given])
    assert _refusal(root, message).name == "org.appfwd1.Error.InvalidOption"


PAGES = {
    "a negative offset": {"offset": Variant("i", -1)},
    "a limit of nothing": {"limit": Variant("i", 0)},
    "a negative limit": {"limit": Variant("x", -(1 << 63))},
    "a limit beyond a page": {"limit": Variant("t", (1 << 64) - 1)},
    "a fraction": {"offset": Variant("d", 0.5)},
    "no number at all": {"offset": Variant("d", float("nan"))},
    "a truth": {"limit": Variant("b", value=True)},
    "a text": {"limit": Variant("s", "1")},
}


@pytest.mark.parametrize("given", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("member", ["List", "GetRules"])
def test_pages_are_counted_in_whole_numbers_from_0_and_1(
    root: Peer, member: str, given: dict[str, Any]
) -> None:
    message = to_daemon(member=member, signature="a{sv}", body=[given])
    assert _refusal(root, message).name == "org.appfwd1.Error.InvalidOption"


SIGNATURES: dict[str, list[Any]] = {
    "": [],
    "s": ["mozilla_t"],
    "ss": ["mozilla_t", PLACE],
    "ssa{ss}": ["mozilla_t", PLACE, {}],
    "ssa{sv}s": ["mozilla_t", PLACE, {}, ""],
    "(ssa{sv})": [["mozilla_t", PLACE, {}]],
    "soa{sv}": ["mozilla_t", "/", {}],
    "ssv": ["mozilla_t", PLACE, Variant("a{sv}", {})],
    "ssa{dv}": ["mozilla_t", PLACE, {float("nan"): Variant("y", 1)}],
    "ssa(sv)": ["mozilla_t", PLACE, []],
    "h": [0],
    "ah": [[0, 7]],
    "y" * 255: [1] * 255,
    "a" * 32 + "y": [[]],
    "(" * 32 + "y" + ")" * 32: [eval("[" * 32 + "1" + "]" * 32)],  # noqa: S307 - our own text
}


@pytest.mark.parametrize("signature", SIGNATURES, ids=[s[:12] or "none" for s in SIGNATURES])
def test_another_signature_is_refused(root: Peer, signature: str) -> None:
    message = to_daemon(member="Grant", signature=signature, body=SIGNATURES[signature])
    refusal = _refusal(root, message)
    assert refusal.name == DBUS + "InvalidArgs"
    assert "'ssa{sv}'" in refusal.text


def test_properties_cannot_be_set_by_anybody(root: Peer, nobody: Peer) -> None:
    for peer in (root, nobody):
        for name in ("Active", "Bridge", "Version", "NoSuch"):
            call = to_daemon(
                interface=PROPERTIES,
                member="Set",
                signature="ssv",
                body=["org.appfwd1.Manager", name, Variant("b", value=False)],
            )
            assert _refusal(peer, call).name == DBUS + "PropertyReadOnly"


UNKNOWN = {
    "method": ({"member": "Format"}, "UnknownMethod"),
    "property": (
        {
            "interface": PROPERTIES,
            "member": "Get",
            "signature": "ss",
            "body": ["org.appfwd1.Manager", "Secret"],
        },
        "UnknownProperty",
    ),
    "interface of a property": (
        {
            "interface": PROPERTIES,
            "member": "GetAll",
            "signature": "s",
            "body": ["org.freedesktop.DBus.Peer"],
        },
        "UnknownInterface",
    ),
    "method of the properties": ({"interface": PROPERTIES, "member": "Drop"}, "UnknownMethod"),
    "method of the peer": (
        {"interface": "org.freedesktop.DBus.Peer", "member": "Reboot"},
        "UnknownMethod",
    ),
    "object": ({"path": "/org/appfwd2", "member": "Up"}, "UnknownObject"),
    "object below": ({"path": "/org/appfwd1/x", "member": "Up"}, "UnknownObject"),
    "root object": ({"path": "/", "member": "Up"}, "UnknownObject"),
}


@pytest.mark.parametrize(("fields", "error"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_unknown_is_named_so(root: Peer, fields: dict[str, Any], error: str) -> None:
    assert _refusal(root, to_daemon(**fields)).name == DBUS + error


@pytest.mark.parametrize("interface", [None, "org.freedesktop.DBus.ObjectManager", "org.appfwd1"])
def test_the_bus_lets_no_call_of_other_interfaces_reach_us(
    root: Peer, interface: str | None
) -> None:
    message = to_daemon(interface=interface, member="Down", signature="a{sv}", body=[{}])
    assert _refusal(root, message).name == DBUS + "AccessDenied"


def test_a_caller_that_leaves_with_calls_under_way_harms_nobody(daemon: Daemon, root: Peer) -> None:
    for kind in ("List", "GetRules"):
        with daemon.peer() as leaving:
            for _ in range(100):
                leaving.send(manager_call(kind, {}))
    root.alive()


def test_a_thousand_calls_at_once_are_all_answered(daemon: Daemon) -> None:
    peers = [daemon.peer() for _ in range(10)]
    calls = [(peer, peer.send(manager_call("List", {}))) for peer in peers for _ in range(100)]
    answers = [bare(body_of(peer.reply_to(serial))[0]) for peer, serial in calls]
    for peer in peers:
        peer.close()
    assert all(len(answer) == 2 for answer in answers)


def test_five_hundred_unauthorised_calls_at_once_are_all_refused(daemon: Daemon) -> None:
    peers = [daemon.peer(65534) for _ in range(5)]
    calls = [(peer, peer.send(manager_call("Down", {}))) for peer in peers for _ in range(100)]
    for peer, serial in calls:
        with pytest.raises(Refused, match=r"org\.appfwd1\.down"):
            body_of(peer.reply_to(serial))
    for peer in peers:
        peer.close()


def test_a_call_that_wants_no_reply_gets_none(root: Peer) -> None:
    calls = [manager_call("List", {}), manager_call("Format"), manager_call("Grant", "", "", {})]
    for call in calls:
        call.flags = MessageFlag.NO_REPLY_EXPECTED
        root.send(call)
    root.call("List", {})
    assert root.kept() == []


STRAY = {
    "signal": Message.new_signal("/org/appfwd1", "org.appfwd1.Manager", "Added", "s", ["1"]),
    "reply": Message(message_type=MessageType.METHOD_RETURN, reply_serial=1),
    "error": Message(message_type=MessageType.ERROR, reply_serial=1, error_name="a.b"),
}


@pytest.mark.parametrize("message", STRAY.values(), ids=STRAY)
def test_messages_that_are_no_calls_are_passed_over(nobody: Peer, message: Any) -> None:
    message.destination = "org.appfwd1"
    nobody.send(message)
    nobody.ask(to_daemon(interface="org.freedesktop.DBus.Peer", member="Ping"))


def test_a_caller_of_the_other_byte_order_is_understood(root: Peer) -> None:
    root.send_raw(_big_endian_guard(PLACE, serial=4321))
    assert bare(body_of(root.reply_to(4321)))[0].isdigit()


def _big_endian_guard(place: str, serial: int) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack(">I", len(value)) + value.encode() + b"\0"

    def padded(data: bytes, to: int) -> bytes:
        return data + b"\0" * (-len(data) % to)

    body = padded(text(place), 4) + struct.pack(">I", 0)
    body = body if len(body) % 8 == 0 else body + b"\0" * 4
    fields = b""
    for code, kind, value in (
        (1, b"o", "/org/appfwd1"),
        (2, b"s", "org.appfwd1.Manager"),
        (3, b"s", "Guard"),
        (6, b"s", "org.appfwd1"),
    ):
        fields = padded(fields, 8) + bytes([code, 1]) + kind + b"\0" + text(value)
    fields = padded(fields, 8) + b"\x08\x01g\0" + b"\x06sa{sv}\0"
    head = b"B\1\0\1" + struct.pack(">III", len(body), serial, len(fields))
    return padded(head + fields, 8) + body


def test_deeper_nesting_than_the_bus_takes_ends_the_callers_connection_only(root: Peer) -> None:
    call = to_daemon(member="List", signature="a{sv}", body=[{"kind": _nested(DEEPEST + 1)}])
    with pytest.raises(Closed):
        root.ask(call)
