"""One good call of each method, and which account of the tests' rules may do which action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from appfwd.bus.members import INTERFACE
from appfwd.core.questions import id_of
from appfwd.model.destination import parse_destination
from appfwd.model.observation import Observation
from tests.bus.peer import Peer, to_daemon
from tests.bus.records import deny, observe
from tests.bus.running import Daemon
from tests.bus.world import ACCOUNTS, ALLOWED

PLACE = "10.0.0.5:3128"
#: The id of the question that :func:`tests.bus.records.deny` makes.
ASKED = id_of(Observation("mozilla_t", parse_destination("10.0.0.80:443/tcp")))
#: Arguments of each method that do something where :func:`prepare` was called.
CALLS: Mapping[str, tuple[Any, ...]] = {
    "Grant": ("squid_t", "10.0.0.9:443/tcp", {}),
    "Revoke": ("mozilla_t", PLACE, {}),
    "Guard": ("10.0.0.9:443/tcp", {"direction": "in"}),
    "Unguard": (PLACE, {}),
    "Fence": ("mozilla_t", {}),
    "Unfence": ("mozilla_t", {}),
    "List": ({},),
    "Explain": ("mozilla_t", PLACE, {}),
    "Who": (PLACE, {}),
    "GetRules": ({},),
    "GetBaseline": ({},),
    "ListTypes": ("mozilla_t", {}),
    "ListObserved": ({},),
    "ListDomains": ({},),
    "ListDenied": ({},),
    "ForgetDenied": ({},),
    "ListPending": ({},),
    "Answer": (ASKED, "allow", {"for": 600}),
    "ListBlocked": ({},),
    "Unblock": ("mozilla_t", "10.0.0.80:443/tcp", {}),
    "RegisterAgent": ({},),
    "UnregisterAgent": ({},),
    "AcceptObserved": ({},),
    "ForgetObserved": ({},),
    "Preview": ("bridge-closed", {}),
    "Plan": ("Guard", ["10.0.0.9"], {}),
    "Apply": ('[[guard]]\ndestination = "10.0.0.9:443/tcp"\n', {}),
    "Export": ({},),
    "SetBaseline": (True, {}),
    "SetBridge": ("closed", {}),
    "Confirm": ({},),
    "Up": ({},),
    "Down": ({},),
}
READING = (
    *("List", "Explain", "Who", "GetRules", "GetBaseline", "ListTypes", "ListObserved"),
    *("ListDomains", "Preview", "Plan", "Export", "ListDenied", "ListPending", "ListBlocked"),
)
#: What is of the caller's connection alone.
OF_CONNECTION = ("RegisterAgent", "UnregisterAgent")
CHANGING = tuple(name for name in CALLS if name not in (*READING, *OF_CONNECTION))


def prepare(daemon: Daemon, method: str = "") -> None:
    """Have a guard and a grant, and whatever else ``method`` needs to do something.

    A domain is fenced for what takes that away, everything is down for what brings it up,
    something is on trial for what confirms it, and something was observed for what is about that.
    """
    daemon.tell("fill", guards=[PLACE], grants=[("mozilla_t", PLACE)])
    if method in ("AcceptObserved", "ForgetObserved"):
        observe(daemon)
    if method in ("ListPending", "ListDenied", "ForgetDenied", "Answer", "ListBlocked", "Unblock"):
        deny(daemon)
    with daemon.peer() as root:
        if method == "Up":
            root.call("Down", {})
        if method == "Confirm":
            root.call("Guard", "10.0.0.10", {"for": 3600})
        if method in ("ListBlocked", "Unblock"):
            root.call("Answer", ASKED, "block", {})
        if method == "UnregisterAgent":
            root.call("RegisterAgent", {})
        if method == "Unfence":
            root.call("Fence", "mozilla_t", {})


def uid_for(action: str) -> int:
    """Return the uid of the account that may do ``action`` and nothing else."""
    (name,) = (name for name, allowed in ALLOWED.items() if allowed == action)
    return ACCOUNTS[name]


def introspect(peer: Peer) -> ET.Element:
    """Return the interface of the manager as the bus has it."""
    call = to_daemon(interface="org.freedesktop.DBus.Introspectable", member="Introspect")
    (xml,) = peer.ask(call)
    found = ET.fromstring(xml).find(f"interface[@name='{INTERFACE}']")  # noqa: S314
    assert found is not None
    return found
