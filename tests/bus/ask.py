"""Make calls with appfwd's own client: JSON in, and what each call raised as JSON out."""

from __future__ import annotations

import asyncio
import json
import sys

from appfwd.bus.client import Client
from appfwd.errors import AppfwdError


async def _ask() -> list[list[str]]:
    client = await Client.connect()
    raised = []
    for method, *arguments in json.load(sys.stdin):
        try:
            await client.call(method, *arguments)
            raised.append(["", ""])
        except AppfwdError as error:
            raised.append([type(error).__name__, str(error)])
    return raised


def main() -> None:
    """Run once."""
    print(json.dumps(asyncio.run(_ask())))
