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
from appfwd.cli.preview import agreed
from appfwd.cli.render import length, when
from appfwd.cli.unlabelled import baseline, bridge, confirm, observed
from appfwd.errors import AppfwdError

#: Exit statuses of ``explain`` beside 0 for allowed.
VERDICTS = {"allowed": 0, "denied": 20, "partly": 21}

Command = Callable[[Client, argparse.Namespace], Awaitable[Answer]]


async def _guard(client: Client, arguments: argparse.Namespace) -> Answer:
    subject: dict[str, object] = {"subject": arguments.destination}
    if arguments.inbound:
        subject["subject-direction"] = "in"
    await agreed(client, arguments, "guard", subject)
    options, begun = {**direction(arguments), **trial(arguments)}, time.time()
    number = await client.call("Guard", arguments.destination, options)
    text = f"guarded: nobody reaches {where(arguments)} but who is granted it"
    return done(arguments, text, id=number, **await goes_back(client, arguments, begun))


async def _unguard(client: Client, arguments: argparse.Namespace) -> Answer:
    await client.call("Unguard", arguments.destination, direction(arguments))
    return done(arguments, f"no longer guarded: {where(arguments)}")


async def _fence(client: Client, arguments: argparse.Namespace) -> Answer:
    chosen = {"loopback": arguments.no_loopback, "dns": arguments.no_dns}
    spares: dict[str, object] = {name: False for name, off in chosen.items() if off}
    await agreed(client, arguments, "fence", {"subject": arguments.domain, **spares})
    begun = time.time()
    number = await client.call("Fence", arguments.domain, {**spares, **trial(arguments)})
    text = f"fenced: {arguments.domain} goes nowhere but where it is granted"
    kept = " and ".join(
        text for name, text in (("loopback", "loopback"), ("dns", "DNS")) if not chosen[name]
    )
    text += f" ({kept} stay{'s' if ' ' not in kept else ''})" if kept else ""
    return done(arguments, text, id=number, **await goes_back(client, arguments, begun))


async def _unfence(client: Client, arguments: argparse.Namespace) -> Answer:
    await client.call("Unfence", arguments.domain, {})
    return done(arguments, f"no longer fenced: {arguments.domain}")


async def _grant(client: Client, arguments: argparse.Namespace) -> Answer:
    place = (arguments.domain, arguments.destination)
    options, end = _end(arguments)
    number = await client.call("Grant", *place, {**direction(arguments), **options})
    return done(arguments, f"granted: {where(arguments)} to {arguments.domain}{end}", id=number)


def _end(arguments: argparse.Namespace) -> tuple[dict[str, object], str]:
    """Return the options of a grant's end, and the end in words."""
    if arguments.length is not None:
        return {"for": arguments.length}, f", for {length(arguments.length)}"
    if arguments.until is not None:
        return {"until": arguments.until}, f", until {when(arguments.until)}"
    return ({"boot": True}, ", until the machine goes down") if arguments.boot else ({}, "")


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
    return Answer("list", await every_row(client, "List", wanted={**wanted, "ended": True}))


async def _types(client: Client, arguments: argparse.Namespace) -> Answer:
    return Answer("types", await every_row(client, "ListTypes", arguments.domain, wanted={}))


async def _domains(client: Client, arguments: argparse.Namespace) -> Answer:
    wanted: dict[str, object] = {"domain": arguments.domain} if arguments.domain else {}
    return Answer("domains", await every_row(client, "ListDomains", wanted=wanted))


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
    "fence": _fence,
    "unfence": _unfence,
    "grant": _grant,
    "revoke": _revoke,
    "explain": _explain,
    "who": _who,
    "list": _list,
    "types": _types,
    "domains": _domains,
    "rules": _rules,
    "status": _status,
    "baseline": baseline,
    "bridge": bridge,
    "observed": observed,
    "confirm": confirm,
    "up": _up,
    "down": _down,
}
