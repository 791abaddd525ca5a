"""Hostile callers of the methods about unlabelled traffic, the baseline and trials."""

from __future__ import annotations

from typing import Any

import pytest

from appfwd.bus.members import METHODS
from appfwd.errors import InvalidArgument, UnknownDomain, all_errors
from tests.bus.peer import Peer, Refused, bare, body_of, manager_call, to_daemon
from tests.bus.records import observe, record
from tests.bus.running import RAW, Daemon
from tests.bus.samples import PLACE, prepare
from tests.bus.test_hostile import TEXTS
from tests.bus.wire import Variant

OURS = {cls.dbus_name() for cls in all_errors() if issubclass(cls, InvalidArgument)}
INVALID_OPTION = "org.appfwd1.Error.InvalidOption"
SIGNATURES = {method.name: method.signature for method in METHODS}
LONG = 1000


@pytest.fixture(autouse=True)
def _settled(daemon: Daemon) -> Any:
    prepare(daemon)
    observe(daemon)
    with daemon.unchanged():
        yield
        with daemon.peer() as other:
            other.alive()


def _refusal(peer: Peer, message: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        peer.ask(message)
    assert not any(word in caught.value.text for word in RAW)
    assert len(caught.value.text) < LONG
    return caught.value


def _call(member: str, *body: Any) -> Any:
    """Return a call whose options are variants already."""
    return to_daemon(member=member, signature=SIGNATURES[member], body=list(body))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_of_no_grammar_is_refused_in_every_place(root: Peer, text: str) -> None:
    own = {"domain": "sshd_t", "destination": "10.0.0.9:22/tcp", "direction": "in"}
    calls = [
        manager_call("Who", text, {}),
        manager_call("Who", PLACE, {"direction": text}),
        manager_call("ListTypes", text, {}),
        manager_call("GetBaseline", {"direction": text}),
        manager_call("ListObserved", {"direction": text}),
        manager_call("AcceptObserved", {"direction": text}),
        manager_call("Preview", text, {}),
        *(manager_call("Preview", "bridge-closed", {**own, key: text}) for key in own),
        manager_call("Confirm", {text: text}),
        manager_call("ForgetObserved", {text: text}),
    ]
    assert {_refusal(root, call).name for call in calls} <= OURS


def test_a_domain_that_nothing_was_observed_of_lists_and_accepts_nothing(root: Peer) -> None:
    for text in TEXTS.values():
        assert root.call("ListObserved", {"domain": text}) == []
        assert root.call("AcceptObserved", {"domain": text}) == []


@pytest.mark.parametrize("name", ["gone_t", "domain", "http_port_t", "http_client_packet_t"])
def test_types_of_no_domain_are_not_listed(root: Peer, name: str) -> None:
    refusal = _refusal(root, manager_call("ListTypes", name, {}))
    assert refusal.name == UnknownDomain.dbus_name()


#: Good arguments before the options of each method, and an option of it with its type.
TAKES: dict[str, tuple[tuple[Any, ...], dict[str, str]]] = {
    "SetBridge": (("closed",), {"strict": "b", "for": "i"}),
    "SetBaseline": ((True,), {"for": "i"}),
    "Guard": (("10.0.0.99",), {"direction": "s", "for": "i"}),
    "Confirm": ((), {}),
    "GetBaseline": ((), {"direction": "s", "offset": "i", "limit": "i"}),
    "ListTypes": (("mozilla_t",), {"offset": "i", "limit": "i"}),
    "Who": ((PLACE,), {"direction": "s", "offset": "i", "limit": "i"}),
    "ListObserved": (
        (),
        {"domain": "s", "direction": "s", "baseline": "b", "offset": "i", "limit": "i"},
    ),
    "AcceptObserved": ((), {"domain": "s", "direction": "s", "baseline": "b"}),
    "ForgetObserved": ((), {}),
    "Preview": (
        ("bridge-closed",),
        {"strict": "b", "domain": "s", "destination": "s", "direction": "s"},
    ),
}
WRONG: dict[str, Variant] = {
    "s": Variant("s", "in"),
    "b": Variant("b", value=True),
    "i": Variant("i", 1),
    "d": Variant("d", 1.0),
    "o": Variant("o", "/in"),
    "as": Variant("as", ["in"]),
    "v": Variant("v", Variant("i", 1)),
    "a{sv}": Variant("a{sv}", {"in": Variant("s", "in")}),
    "(i)": Variant("(i)", [1]),
}


@pytest.mark.parametrize("member", TAKES)
def test_options_are_a_closed_list(root: Peer, member: str) -> None:
    first, known = TAKES[member]
    keys = {"colour", "", "For", "Strict", "x" * (1 << 20), "for\n"}
    every = {key for _, options in TAKES.values() for key in options}
    for key in (keys | every) - set(known):
        refusal = _refusal(root, _call(member, *first, {key: Variant("i", 1)}))
        assert refusal.name == INVALID_OPTION
        assert all(name in refusal.text for name in known)


@pytest.mark.parametrize("member", TAKES)
def test_options_are_of_fixed_types(root: Peer, member: str) -> None:
    first, known = TAKES[member]
    for key, kind in known.items():
        for value in (value for other, value in WRONG.items() if other not in (kind, "o")):
            assert _refusal(root, _call(member, *first, {key: value})).name == INVALID_OPTION


TIMES = {
    "nothing": Variant("i", 0),
    "less than nothing": Variant("i", -1),
    "a second more than a day": Variant("i", 86_401),
    "the end of 32 bits": Variant("u", (1 << 32) - 1),
    "one bit more than 31": Variant("x", 1 << 31),
    "the end of 64 bits": Variant("t", (1 << 64) - 1),
    "their other end": Variant("x", -(1 << 63)),
    "a fraction": Variant("d", 60.0),
    "no number": Variant("d", float("nan")),
    "without end": Variant("d", float("inf")),
    "a text": Variant("s", "60"),
    "a truth": Variant("b", value=True),
    "a list": Variant("ai", [60]),
}


@pytest.mark.parametrize("time", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("member", [name for name, (_, known) in TAKES.items() if "for" in known])
def test_a_trial_lasts_from_a_second_to_a_day(root: Peer, member: str, time: Variant) -> None:
    first, _ = TAKES[member]
    assert _refusal(root, _call(member, *first, {"for": time})).name == INVALID_OPTION


@pytest.mark.parametrize("mode", ["open", "observed"])
@pytest.mark.parametrize("more", [{}, {"for": 60}], ids=["for good", "on trial"])
def test_strict_goes_with_a_closed_bridge_alone(root: Peer, mode: str, more: Any) -> None:
    refusal = _refusal(root, manager_call("SetBridge", mode, {"strict": True, **more}))
    assert refusal.name == INVALID_OPTION


@pytest.mark.parametrize("mode", ["", "OPEN", "close", "observe", "Closed", "closed ", "open\0x"])
def test_modes_are_three_words(root: Peer, mode: str) -> None:
    text = mode.replace("\0", "\u2400")  # D-Bus itself has no NUL within a text
    refusal = _refusal(root, manager_call("SetBridge", text, {}))
    assert refusal.name == InvalidArgument.dbus_name()


PAGES = {
    "a negative offset": {"offset": Variant("i", -1)},
    "a limit of nothing": {"limit": Variant("i", 0)},
    "a limit beyond a page": {"limit": Variant("i", 1001)},
    "a limit of 64 bits": {"limit": Variant("t", (1 << 64) - 1)},
    "a truth": {"limit": Variant("b", value=True)},
}


@pytest.mark.parametrize("given", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("member", [name for name, (_, known) in TAKES.items() if "limit" in known])
def test_pages_are_counted_as_everywhere(root: Peer, member: str, given: Any) -> None:
    first, _ = TAKES[member]
    assert _refusal(root, _call(member, *first, given)).name == INVALID_OPTION


@pytest.mark.parametrize("member", TAKES)
def test_an_offset_of_64_bits_gives_an_empty_page(root: Peer, member: str) -> None:
    first, known = TAKES[member]
    if "offset" in known:
        far = {"offset": Variant("t", (1 << 64) - 1)}
        answer = bare(root.ask(_call(member, *first, far))[0])
        assert (answer["rows"] if isinstance(answer, dict) else answer) == []


NO_RECORDS = {
    "a domain of another grammar": record("mozilla_t) (allow", "10.0.0.1", 80),
    "a megabyte": record("a" * (1 << 20), "10.0.0.1", 80),
    "a port too high": record("mozilla_t", "10.0.0.1", 65_536),
    "no address": record("mozilla_t", "localhost", 80),
    "two lines": record("mozilla_t", "10.0.0.1", 80) + "\n" + record("squid_t", "10.0.0.1", 80),
    "no record": "\x00\ud7ff" * 99,
}


@pytest.mark.parametrize("text", NO_RECORDS.values(), ids=NO_RECORDS)
def test_records_that_are_none_observe_nothing(daemon: Daemon, root: Peer, text: str) -> None:
    before = root.call("ListObserved", {})
    assert daemon.tell("record", texts=[text])
    assert root.call("ListObserved", {}) == before


def test_a_caller_that_leaves_harms_nobody(daemon: Daemon, root: Peer) -> None:
    for member, first in (("GetBaseline", ()), ("ListObserved", ()), ("Who", ("any",))):
        with daemon.peer() as leaving:
            for _ in range(50):
                leaving.send(manager_call(member, *first, {}))
    serial = root.send(manager_call("Who", "any", {}))
    assert body_of(root.reply_to(serial))
