"""The commands of the way from an open bridge to a closed one: baseline, bridge, observed."""

from __future__ import annotations

import argparse
import time

from appfwd.bus.client import Client
from appfwd.cli.answer import Answer, done, every_row, goes_back, trial, whole
from appfwd.cli.preview import agreed
from appfwd.errors import InvalidArgument

#: What the daemon calls the modes of the command line.
_MODES = {"open": "open", "observe": "observed", "close": "closed"}


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
    mode, options = _MODES[arguments.mode], trial(arguments)
    strict: dict[str, object] = {}
    if arguments.mode == "close":
        strict = {"strict": True} if arguments.strict else {}
        await agreed(client, arguments, "bridge-closed", strict)
    begun = time.time()
    await client.call("SetBridge", mode, {**strict, **options})
    text = f"the bridge is {mode}{', strictly' if strict else ''}"
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
