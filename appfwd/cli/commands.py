"""What each command asks of the daemon: its answer as plain values, and the exit status."""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable, Mapping

from appfwd.bus.client import Client
from appfwd.cli.answer import (
    Answer,
    direction,
    done,
    every_row,
    goes_back,
    trial,
    where,
    whole,
)
from appfwd.cli.console import ask
from appfwd.cli.unlabelled import baseline, bridge, confirm, observed
from appfwd.errors import AppfwdError

#: Exit statuses of ``explain`` beside 0 for allowed.
VERDICTS = {"allowed": 0, "denied": 20, "partly": 21}

Command = Callable[[Client, argparse.Namespace], Awaitable[Answer]]


async def _guard(client: Client, arguments: argparse.Namespace) -> Answer:
    options, begun = {**direction(arguments), **trial(arguments)}, time.time()
    number = await client.call("Guard", arguments.destination, options)
    text = f"guarded: nobody reaches {where(arguments)} but who is granted it"
    return done(arguments, text, id=number, **await goes_back(client, arguments, begun))


async def _unguard(client: Client, arguments: argparse.Namespace) -> Answer:
    await client.call("Unguard", arguments.destination, direction(arguments))
    return done(arguments, f"no longer guarded: {where(arguments)}")


async def _grant(client: Client, arguments: argparse.Namespace) -> Answer:
    place = (arguments.domain, arguments.destination)
    number = await client.call("Grant", *place, direction(arguments))
    return done(arguments, f"granted: {where(arguments)} to {arguments.domain}", id=number)


async def _revoke(client: Client, arguments: argparse.Namespace) -> Answer:
    place = (arguments.domain, arguments.destination)
    await client.call("Revoke", *place, direction(arguments))
    return done(arguments, f"revoked: {where(arguments)} from {arguments.domain}")


async def _explain(client: Client, arguments: argparse.Namespace) -> Answer:
    place = (arguments.domain, arguments.destination)
    value = await client.call("Explain", *place, direction(arguments))
    return Answer("explain", value, VERDICTS[value["verdict"]])


async def _who(client: Client, arguments: argparse.Namespace) -> Answer:
    rows = await every_row(client, "Who", arguments.destination, wanted=direction(arguments))
    return Answer("who", rows)


async def _list(client: Client, arguments: argparse.Namespace) -> Answer:
    chosen = {"kind": arguments.kind, "domain": arguments.domain}
    wanted: dict[str, object] = {key: value for key, value in chosen.items() if value}
    return Answer("list", await every_row(client, "List", wanted=wanted))


async def _types(client: Client, arguments: argparse.Namespace) -> Answer:
    return Answer("types", await every_row(client, "ListTypes", arguments.domain, wanted={}))


async def _rules(client: Client, _arguments: argparse.Namespace) -> Answer:
    return Answer("rules", await whole(client, "GetRules", "elements"))


async def _status(client: Client, _arguments: argparse.Namespace) -> Answer:
    value = await client.properties()
    return Answer("status", value, 1 if value["Problem"] else 0)


async def _up(client: Client, arguments: argparse.Namespace) -> Answer:
    await client.call("Up", {})
    return done(arguments, "up: what is stored is in force")


async def _down(client: Client, arguments: argparse.Namespace) -> Answer:
    if not arguments.yes and not await ask("This lifts every guard. Go on?"):
        msg = "Nothing was done. 'appfwctl down --yes' does it without asking."
        raise AppfwdError(msg)
    await client.call("Down", {})
    return done(arguments, "down: nothing of appfwd is in the kernel; 'appfwctl up' undoes it")


COMMANDS: Mapping[str, Command] = {
    "guard": _guard,
    "unguard": _unguard,
    "grant": _grant,
    "revoke": _revoke,
    "explain": _explain,
    "who": _who,
    "list": _list,
    "types": _types,
    "rules": _rules,
    "status": _status,
    "baseline": baseline,
    "bridge": bridge,
    "observed": observed,
    "confirm": confirm,
    "up": _up,
    "down": _down,
}
