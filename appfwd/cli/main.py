"""The entry of appfwctl: parse, ask, print; errors go to standard error with their exit status."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence

from appfwd.bus.client import Client
from appfwd.cli.commands import COMMANDS, Answer
from appfwd.cli.parser import build_parser
from appfwd.cli.render import render
from appfwd.errors import AppfwdError


async def _ask(arguments: argparse.Namespace) -> Answer:
    return await COMMANDS[arguments.command](await Client.connect(), arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    chosen = build_parser().parse_args(arguments)
    try:
        answer = asyncio.run(_ask(chosen))
        if chosen.json:
            text = json.dumps(answer.value, indent=2, sort_keys=True) + "\n"
        else:
            text = render(answer.kind, answer.value, terminal=sys.stdout.isatty())
        sys.stdout.write(text)
        sys.stdout.flush()
    except AppfwdError as error:
        return _fail(error, as_json=chosen.json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return answer.status


def _fail(error: AppfwdError, *, as_json: bool) -> int:
    if as_json:
        value = {"error": error.dbus_name(), "message": str(error)}
        sys.stdout.write(json.dumps(value, indent=2, sort_keys=True) + "\n")
    else:
        sys.stderr.write(f"appfwctl: {error}\n")
    return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
