"""What a command gives back, and what commands have in common."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appfwd.bus.client import Client
from appfwd.errors import AppfwdError
from appfwd.model.options import PAGE_AT_MOST


@dataclass(frozen=True)
class Answer:
    """What a command gives back: a value for JSON, and what it is, for the renderer."""

    kind: str
    value: Any
    status: int = 0


def done(arguments: argparse.Namespace, text: str, **more: object) -> Answer:
    """Return that something was done, in a sentence, with whatever else belongs to it."""
    return Answer("done", {"command": arguments.command, "result": text, **more})


def where(arguments: argparse.Namespace) -> str:
    """Return the destination of a command as people are shown it."""
    return f"{arguments.destination}{' inbound' if arguments.inbound else ''}"


def direction(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the option of the direction."""
    return {"direction": "in"} if arguments.inbound else {}


def trial(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the option of a change that goes back by itself."""
    return {} if arguments.seconds is None else {"for": arguments.seconds}


async def goes_back(
    client: Client, arguments: argparse.Namespace, begun: float
) -> dict[str, object]:
    """Return when the change that was asked for at ``begun`` goes back (``until``, Unix time).

    None where nothing does, since it was so for good already; nothing where no trial was asked for.
    """
    if arguments.seconds is None:
        return {}
    try:
        deadline = (await client.properties())["Deadline"]
    except AppfwdError:  # not everybody who may change it may read it
        return {"until": time.time() + arguments.seconds}
    # The deadline is that of the earliest trial, which may be an older one.
    return {"until": max(deadline, begun + arguments.seconds) if deadline else None}


async def every_row(
    client: Client, method: str, *arguments: str, wanted: Mapping[str, object]
) -> list[Any]:
    """Return the rows of all pages of a method that gives rows."""
    rows: list[Any] = []
    while True:
        page = await client.call(method, *arguments, {**wanted, "offset": len(rows)})
        rows += page
        if len(page) < PAGE_AT_MOST:
            return rows


async def whole(client: Client, method: str, rows: str) -> Any:
    """Return the answer of a method whose ``rows`` come in pages, with all of them."""
    value = await client.call(method, {})
    while len(value[rows]) < value["total"]:
        page = (await client.call(method, {"offset": len(value[rows])}))[rows]
        if not page:
            break
        value[rows] += page
    return value
