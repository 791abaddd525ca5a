"""The commands of the way from an open bridge to a closed one: baseline, bridge, observed."""

from __future__ import annotations

import argparse
import time

from appfwd.bus.client import Client
from appfwd.cli.answer import Answer, done, every_row, goes_back, trial, whole
from appfwd.cli.preview import agreed
from appfwd.cli.requests import MODES, request, strict
from appfwd.errors import InvalidArgument


async def baseline(client: Client, arguments: argparse.Namespace) -> Answer:
    """Label every port as the policy says, or show what that is."""
    if arguments.mode is None:
        return Answer("baseline", {"baseline": (await client.properties())["Baseline"]})
    if arguments.mode == "show":
        return Answer("labels", await whole(client, "GetBaseline", "rows"))
    await agreed(client, arguments, f"baseline-{arguments.mode}", {})
    begun = time.time()
    await client.call("SetBaseline", arguments.mode == "on", trial(arguments))
    text = f"the baseline is {arguments.mode}"
    return done(arguments, text, **await goes_back(client, arguments, begun))


async def bridge(client: Client, arguments: argparse.Namespace) -> Answer:
    """Decide, or show, what becomes of packets without a label."""
    if arguments.mode is None:
        value = await client.properties()
        return Answer("bridge", {"bridge": value["Bridge"], "strict": value["Strict"]})
    if arguments.mode == "close":
        await agreed(client, arguments, "bridge-closed", strict(arguments))
    begun, asked = time.time(), request(arguments)
    await client.call(asked.method, *asked.arguments, asked.options)
    text = f"the bridge is {MODES[arguments.mode]}{', strictly' if strict(arguments) else ''}"
    return done(arguments, text, **await goes_back(client, arguments, begun))


async def observed(client: Client, arguments: argparse.Namespace) -> Answer:
    """Show what was observed, grant it, or forget it."""
    wanted: dict[str, object] = {"domain": arguments.domain} if arguments.domain else {}
    if arguments.with_baseline:
        wanted["baseline"] = True
    if arguments.forget:
        if wanted:
            msg = "--forget forgets everything that was observed; it goes with no other option."
            raise InvalidArgument(msg)
        count = await client.call("ForgetObserved", {})
        return done(arguments, f"forgotten: {count} observed", count=count)
    if arguments.accept:
        ids = await client.call("AcceptObserved", wanted)
        return done(arguments, f"granted: {len(ids)} of what was observed", ids=ids)
    return Answer("observed", await every_row(client, "ListObserved", wanted=wanted))


async def confirm(client: Client, arguments: argparse.Namespace) -> Answer:
    """Make what is tried permanent."""
    count = await client.call("Confirm", {})
    text = f"confirmed: {count} {'change stays' if count == 1 else 'changes stay'}"
    return done(arguments, text, count=count)
