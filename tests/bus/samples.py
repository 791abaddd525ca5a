"""One good call of each method, and which account of the tests' rules may do which action."""

from __future__ import annotations

import pwd
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from appfwd.bus.members import INTERFACE
from tests.bus.peer import Peer, to_daemon
from tests.bus.running import Daemon
from tests.bus.world import HERE

PLACE = "10.0.0.5:3128"
#: Arguments of each method that do something where :func:`prepare` was called.
CALLS: Mapping[str, tuple[Any, ...]] = {
    "Grant": ("squid_t", "10.0.0.9:443/tcp", {}),
    "Revoke": ("mozilla_t", PLACE, {}),
    "Guard": ("10.0.0.9:443/tcp", {"direction": "in"}),
    "Unguard": (PLACE, {}),
    "List": ({},),
    "Explain": ("mozilla_t", PLACE, {}),
    "GetRules": ({},),
    "SetBridge": ("closed", {}),
    "Up": ({},),
    "Down": ({},),
}
READING = ("List", "Explain", "GetRules")
CHANGING = tuple(name for name in CALLS if name not in READING)

_RULES = (HERE / "appfwd.rules").read_text("ascii")
#: The action that each account may do.
ALLOWED = dict(re.findall(r'"([a-z]+)": "(org\.appfwd1\.[a-z-]+)"', _RULES))


def prepare(daemon: Daemon, method: str = "") -> None:
    """Have a guard and a grant; everything is down where ``method`` is what brings it up."""
    daemon.tell("fill", guards=[PLACE], grants=[("mozilla_t", PLACE)])
    if method == "Up":
        with daemon.peer() as root:
            root.call("Down", {})


def uid_for(action: str) -> int:
    """Return the uid of the account that may do ``action`` and nothing else."""
    (name,) = (name for name, allowed in ALLOWED.items() if allowed == action)
    return pwd.getpwnam(name).pw_uid


def introspect(peer: Peer) -> ET.Element:
    """Return the interface of the manager as the bus has it."""
    call = to_daemon(interface="org.freedesktop.DBus.Introspectable", member="Introspect")
    (xml,) = peer.ask(call)
    found = ET.fromstring(xml).find(f"interface[@name='{INTERFACE}']")  # noqa: S314
    assert found is not None
    return found
