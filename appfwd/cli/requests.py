"""The method, arguments and options that the words of a command come to; Plan takes the same."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from appfwd.cli.answer import direction, trial
from appfwd.cli.ends import end

#: What the daemon calls the modes of ``bridge``.
MODES = {"open": "open", "observe": "observed", "close": "closed"}


@dataclass(frozen=True)
class Request:
    """A call of a method of the manager, as Plan takes it: all arguments are strings."""

    method: str
    arguments: tuple[str, ...] = ()
    options: dict[str, object] = field(default_factory=dict)


def spares(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the options of a fence's exceptions."""
    off = {"loopback": arguments.no_loopback, "dns": arguments.no_dns}
    return {name: False for name in off if off[name]}


def strict(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the option of a strict bridge."""
    return {"strict": True} if getattr(arguments, "strict", False) else {}


def _grant(arguments: argparse.Namespace) -> Request:
    options = {**direction(arguments), **end(arguments)}
    return Request("Grant", (arguments.domain, arguments.destination), options)


def _revoke(arguments: argparse.Namespace) -> Request:
    place = (arguments.domain, arguments.destination)
    return Request("Revoke", place, direction(arguments))


def _guard(arguments: argparse.Namespace) -> Request:
    options = {**direction(arguments), **trial(arguments)}
    return Request("Guard", (arguments.destination,), options)


def _unguard(arguments: argparse.Namespace) -> Request:
    return Request("Unguard", (arguments.destination,), direction(arguments))


def _fence(arguments: argparse.Namespace) -> Request:
    options = {**spares(arguments), **trial(arguments)}
    return Request("Fence", (arguments.domain,), options)


def _bridge(arguments: argparse.Namespace) -> Request:
    return Request("SetBridge", (MODES[arguments.mode],), {**strict(arguments), **trial(arguments)})


_REQUESTS: Mapping[str, Callable[[argparse.Namespace], Request]] = {
    "grant": _grant,
    "revoke": _revoke,
    "guard": _guard,
    "unguard": _unguard,
    "fence": _fence,
    "unfence": lambda arguments: Request("Unfence", (arguments.domain,)),
    "baseline": lambda arguments: Request("SetBaseline", (arguments.mode,), trial(arguments)),
    "bridge": _bridge,
    "apply": lambda arguments: Request("Apply", (arguments.source.text,)),
    "up": lambda _arguments: Request("Up"),
    "down": lambda _arguments: Request("Down"),
}
#: Commands that can be planned; of those with modes, these alone.
PLANNED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_REQUESTS, ()),
    "baseline": ("on", "off"),
    "bridge": tuple(MODES),
}


def request(arguments: argparse.Namespace) -> Request:
    """Return what a command that changes something asks for.

    Raises:
        AppfwdError: that is told by what cannot be found out here.

    """
    return _REQUESTS[arguments.command](arguments)
