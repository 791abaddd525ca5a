"""The entry of appfwctl: parse, ask, print; errors go to standard error with their exit status."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from appfwd.bus.client import Client
from appfwd.cli.answer import Answer
from appfwd.cli.commands import COMMANDS
from appfwd.cli.console import for_people, say, tell
from appfwd.cli.document import load
from appfwd.cli.parser import parse
from appfwd.cli.program import name_domain
from appfwd.cli.render import render
from appfwd.cli.watch import watch
from appfwd.cli.whole import syntax
from appfwd.errors import AppfwdError


async def _ask(arguments: argparse.Namespace) -> Answer:
    await name_domain(arguments)
    if arguments.command == "watch":  # it talks with the daemon in both directions
        return await watch(arguments)
    return await COMMANDS[arguments.command](await Client.connect(), arguments)


def _answer(arguments: argparse.Namespace) -> Answer:
    # Before the event loop, in which the first interrupt from the keyboard would wait for a read.
    load(getattr(arguments, "planned", arguments))
    if getattr(arguments, "syntax", False):
        return syntax(arguments)
    return asyncio.run(_ask(arguments))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    chosen = parse(arguments)
    try:
        answer = _answer(chosen)
    except AppfwdError as error:
        return _fail(error, as_json=chosen.json)
    except KeyboardInterrupt:
        return 130
    if not answer.kind:  # all is said already
        return answer.status
    if chosen.json:
        text = _json(answer.value)
    else:
        text = render(answer.kind, answer.value, terminal=for_people())
    return answer.status if say(text) else 1


def _fail(error: AppfwdError, *, as_json: bool) -> int:
    if as_json:
        say(_json({"error": error.dbus_name(), "message": str(error)}))
    else:
        tell(f"appfwctl: {error}\n")
    return error.exit_status


def _json(value: Any) -> str:
    return json.dumps(_finite(value), indent=2, sort_keys=True, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """Return the value with null for what is infinite, which JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if value == math.inf else value


if __name__ == "__main__":
    sys.exit(main())
