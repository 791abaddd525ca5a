"""What each command asks of the daemon: its answer as plain values, and the exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from appfwd.bus.client import Client
from appfwd.errors import AppfwdError
from appfwd.model.options import PAGE_AT_MOST

#: Exit statuses of ``explain`` beside 0 for allowed.
VERDICTS = {"allowed": 0, "denied": 20, "partly": 21}


@dataclass(frozen=True)
class Answer:
    """What a command gives back: a value for JSON, and what it is, for the renderer."""

    kind: str
    value: Any
    status: int = 0


Command = Callable[[Client, argparse.Namespace], Awaitable[Answer]]


def _direction(arguments: argparse.Namespace) -> dict[str, object]:
    return {"direction": "in"} if arguments.inbound else {}


async def _guard(client: Client, arguments: argparse.Namespace) -> Answer:
    number = await client.call("Guard", arguments.destination, _direction(arguments))
    return _done(
        arguments, f"guarded: nobody reaches {_where(arguments)} but who is granted it", number
    )


async def _unguard(client: Client, arguments: argparse.Namespace) -> Answer:
    await client.call("Unguard", arguments.destination, _direction(arguments))
    return _done(arguments, f"no longer guarded: {_where(arguments)}")


async def _grant(client: Client, arguments: argparse.Namespace) -> Answer:
    number = await client.call(
        "Grant", arguments.domain, arguments.destination, _direction(arguments)
    )
    return _done(arguments, f"granted: {_where(arguments)} to {arguments.domain}", number)


async def _revoke(client: Client, arguments: argparse.Namespace) -> Answer:
    await client.call("Revoke", arguments.domain, arguments.destination, _direction(arguments))
    return _done(arguments, f"revoked: {_where(arguments)} from {arguments.domain}")


async def _explain(client: Client, arguments: argparse.Namespace) -> Answer:
    value = await client.call(
        "Explain", arguments.domain, arguments.destination, _direction(arguments)
    )
    return Answer("explain", value, VERDICTS[value["verdict"]])


async def _list(client: Client, arguments: argparse.Namespace) -> Answer:
    chosen = {"kind": arguments.kind, "domain": arguments.domain}
    wanted: dict[str, object] = {key: value for key, value in chosen.items() if value}
    rows: list[Any] = []
    while True:
        page = await client.call("List", {**wanted, "offset": len(rows)})
        rows += page
        if len(page) < PAGE_AT_MOST:
            return Answer("list", rows)


async def _rules(client: Client, _arguments: argparse.Namespace) -> Answer:
    value = await client.call("GetRules", {})
    while len(value["elements"]) < value["total"]:
        page = await client.call("GetRules", {"offset": len(value["elements"])})
        if not page["elements"]:
            break
        value["elements"] += page["elements"]
    return Answer("rules", value)


async def _status(client: Client, _arguments: argparse.Namespace) -> Answer:
    value = await client.properties()
    return Answer("status", value, 1 if value["Problem"] else 0)


async def _bridge(client: Client, arguments: argparse.Namespace) -> Answer:
    if arguments.mode is None:
        return Answer("bridge", {"bridge": (await client.properties())["Bridge"]})
    mode = {"open": "open", "close": "closed"}[arguments.mode]
    await client.call("SetBridge", mode, {})
    return _done(arguments, f"the bridge is {mode}")


async def _up(client: Client, arguments: argparse.Namespace) -> Answer:
    await client.call("Up", {})
    return _done(arguments, "up: the stored guards and grants are in force")


async def _down(client: Client, arguments: argparse.Namespace) -> Answer:
    if not arguments.yes and not _confirmed():
        msg = "Nothing was done. 'appfwctl down --yes' does it without asking."
        raise AppfwdError(msg)
    await client.call("Down", {})
    return _done(arguments, "down: nothing of appfwd is in the kernel; 'appfwctl up' undoes it")


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        return False
    print("This lifts every guard. Go on? [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _done(arguments: argparse.Namespace, text: str, number: str | None = None) -> Answer:
    value = {"command": arguments.command, "result": text}
    return Answer("done", value if number is None else {**value, "id": number})


def _where(arguments: argparse.Namespace) -> str:
    return f"{arguments.destination}{' inbound' if arguments.inbound else ''}"


COMMANDS: Mapping[str, Command] = {
    "guard": _guard,
    "unguard": _unguard,
    "grant": _grant,
    "revoke": _revoke,
    "explain": _explain,
    "list": _list,
    "rules": _rules,
    "status": _status,
    "bridge": _bridge,
    "up": _up,
    "down": _down,
}
