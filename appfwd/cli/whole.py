"""The commands about the whole desired state: plan, apply, export."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from appfwd.bus.client import Client
from appfwd.cli.answer import Answer, done
from appfwd.cli.console import tell
from appfwd.cli.document import Source
from appfwd.cli.preview import agreed
from appfwd.cli.render import render
from appfwd.cli.requests import request
from appfwd.errors import InvalidDocument

#: Exit status of ``apply --check`` where the document is not in force.
DIFFERS = 22


async def plan(client: Client, arguments: argparse.Namespace) -> Answer:
    """Show what another command would change."""
    return Answer("plan", await _planned(client, arguments.planned))


async def apply(client: Client, arguments: argparse.Namespace) -> Answer:
    """Make the desired state what a document says, after its differences were shown."""
    source: Source = arguments.source
    found = await _planned(client, arguments)
    if arguments.check:
        return Answer("plan", found, DIFFERS if differs(found) else 0)
    if differs(found):
        tell(render("plan", found, terminal=True))
        await agreed(client, arguments, "apply", {"subject": source.text}, ask_always=True)
    try:
        value = await client.call("Apply", source.text, {})
    except InvalidDocument as error:
        raise source.blame(error) from None
    text = f"applied: {value['added']} came, {value['removed']} went"
    return done(arguments, text, **value)


def syntax(arguments: argparse.Namespace) -> Answer:
    """Say that what was read is a document; no daemon is asked."""
    text = f"{arguments.source.name} is a document; what it names was not looked up"
    return done(arguments, text)


async def export(client: Client, _arguments: argparse.Namespace) -> Answer:
    """Print the document of the present desired state."""
    return Answer("export", {"document": await client.call("Export", {})})


def differs(plan: Mapping[str, Any]) -> bool:
    """Tell whether a plan changes anything."""
    lists = ("members", "settings", "policy", "elements", "commands")
    return any(plan[name] for name in lists) or plan["trials_over"] > 0


async def _planned(client: Client, arguments: argparse.Namespace) -> Any:
    asked = request(arguments)
    try:
        return await client.call("Plan", asked.method, list(asked.arguments), asked.options)
    except InvalidDocument as error:
        raise arguments.source.blame(error) from None
