"""Before a change that may cut what works: who would lose what, and whether to go on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from appfwd.bus.client import Client
from appfwd.cli.connection import Connection, own_connection
from appfwd.cli.console import ask, interactive, tell
from appfwd.cli.render import table, when
from appfwd.errors import AppfwdError

_SHOWN_AT_MOST = 20


async def agreed(
    client: Client,
    arguments: argparse.Namespace,
    change: str,
    options: Mapping[str, object],
    *,
    ask_always: bool = False,
) -> None:
    """Tell what ``change`` (as of Preview) would cut, and have it agreed to.

    What nobody could be asked about is done with a warning, unless it would cut the caller's own
    connection for good. ``ask_always`` asks also about what would cut nothing.

    Raises:
        AppfwdError: it is not to be done.

    """
    own = own_connection()
    try:
        found = await client.call("Preview", change, {**options, **_asked(own)})
    except AppfwdError as error:
        if not arguments.yes:
            raise
        tell(f"appfwctl: What would be lost cannot be told: {error}\n")
        return
    tell("".join(line + "\n" for line in _told(found)))
    if arguments.yes or not (ask_always or found["total"] or found["cut"]):
        return
    if interactive():
        if not await ask("Go on?"):
            msg = "Nothing was done. With --yes it is done without asking."
            raise AppfwdError(msg)
    elif found["cut"] and getattr(arguments, "seconds", None) is None:
        trial = "--for 60s, so that it goes back unless you confirm it, or "
        msg = (
            "Nothing was done: it would cut the connection that you are using, for good. "
            f"Use {trial if 'seconds' in arguments else ''}--yes."
        )
        raise AppfwdError(msg)


def _asked(own: Connection | None) -> dict[str, object]:
    if own is None:
        return {}
    return {"domain": own.domain, "destination": own.destination, "direction": "in"}


def _told(found: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (
            "",
            row["domain"],
            row["direction"],
            row["destination"],
            str(row["count"]),
            when(row["last"]),
        )
        for row in found["loses"][:_SHOWN_AT_MOST]
    ]
    if rows:
        yield "Of what was observed, this would be lost:"
        header = ("", "DOMAIN", "DIRECTION", "DESTINATION", "COUNT", "LAST")
        yield from table(rows, header, terminal=True)
    if found["total"] > len(rows):
        yield f"  and {found['total'] - len(rows)} more"
    if found["cut"]:
        yield f"Warning: {found['why']}."
