"""The interface on the live bus, the files that describe it, and what holds between them."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from appfwd.bus.members import METHODS, PROPERTIES, PROPERTY_ACTION, SIGNALS, actions, introspection
from tests.bus.peer import Peer, to_daemon
from tests.bus.samples import CALLS, introspect
from tests.bus.world import ALLOWED, ROOT

POLICY = ET.parse(ROOT / "dbus/org.appfwd1.policy").getroot()  # noqa: S314 - ours
READING = {
    *("list", "explain", "who", "get-rules", "get-baseline", "list-types", "list-observed"),
    *("list-domains", "preview", "plan", "export", "status"),
    *("list-denied", "list-pending", "list-blocked", "unblock", "answer"),
}
#: Actions whose defaults are others, with those of an inactive and of an active session.
OTHERS = {
    "answer-wider": ("auth_admin", "auth_admin_keep"),
    "register-agent": ("yes", "yes"),
    "unregister-agent": ("yes", "yes"),
}


def _actions() -> dict[str, ET.Element]:
    return {action.attrib["id"]: action for action in POLICY.iter("action")}


def test_every_method_on_the_bus_has_an_action_and_a_sample_in_these_tests(root: Peer) -> None:
    live = {method.attrib["name"] for method in introspect(root).iter("method")}
    assert live == {method.name for method in METHODS} == set(CALLS)
    assert all(method.action in _actions() for method in METHODS)


def test_no_property_can_be_written(root: Peer) -> None:
    access = {p.attrib["name"]: p.attrib["access"] for p in introspect(root).iter("property")}
    assert access == {prop.name: "read" for prop in PROPERTIES}


def test_signals_on_the_bus_are_those_of_the_table(root: Peer) -> None:
    live = {
        signal.attrib["name"]: "".join(arg.attrib["type"] for arg in signal.iter("arg"))
        for signal in introspect(root).iter("signal")
    }
    assert live == {signal.name: signal.signature for signal in SIGNALS}


def test_methods_on_the_bus_take_and_give_what_the_table_says(root: Peer) -> None:
    live = {}
    for method in introspect(root).iter("method"):
        kinds: dict[str, list[tuple[str, str]]] = {"in": [], "out": []}
        for arg in method.iter("arg"):
            kinds[arg.attrib["direction"]].append((arg.attrib["name"], arg.attrib["type"]))
        live[method.attrib["name"]] = (tuple(kinds["in"]), tuple(kinds["out"]))
    assert live == {method.name: (method.takes, method.gives) for method in METHODS}


def test_policy_file_has_each_action_once_and_no_other() -> None:
    ids = [action.attrib["id"] for action in POLICY.iter("action")]
    assert sorted(ids) == sorted(actions())


def test_each_method_has_an_action_of_its_own() -> None:
    named = [method.action for method in METHODS]
    assert len(set(named)) == len(named)
    assert PROPERTY_ACTION not in named


def test_rules_of_these_tests_cover_each_action() -> None:
    assert sorted(ALLOWED.values()) == sorted(actions())


@pytest.mark.parametrize("action", sorted(actions()))
def test_reading_is_open_to_active_local_users_and_all_else_asks_for_an_administrator(
    action: str,
) -> None:
    defaults = _actions()[action].find("defaults")
    assert defaults is not None
    word = action.rpartition(".")[2]
    usual = ("auth_admin", "yes" if word in READING else "auth_admin")
    inactive, active = OTHERS.get(word, usual)
    assert {part.tag: part.text for part in defaults} == {
        "allow_any": "auth_admin",
        "allow_inactive": inactive,
        "allow_active": active,
    }


@pytest.mark.parametrize("action", sorted(actions()))
def test_each_action_says_what_it_is_and_what_a_password_is_wanted_for(action: str) -> None:
    texts = {part.tag: part.text or "" for part in _actions()[action]}
    assert texts["description"]
    assert texts["message"].startswith("Authentication is required to ")


def test_introspection_file_is_what_the_bus_answers() -> None:
    assert (ROOT / "dbus/org.appfwd1.Manager.xml").read_text("ascii") == introspection()


@pytest.mark.parametrize(
    ("path", "child"),
    [("/", "org"), ("/org", "appfwd1"), ("/org/app", ""), ("/o", ""), ("/org/appfwd1/x", "")],
)
def test_nodes_above_the_object_lead_to_it_and_others_are_empty(
    root: Peer, path: str, child: str
) -> None:
    interface = "org.freedesktop.DBus.Introspectable"
    (xml,) = root.ask(to_daemon(path=path, interface=interface, member="Introspect"))
    names = [node.attrib["name"] for node in ET.fromstring(xml)]  # noqa: S314
    assert names == ([child] if child else [])
