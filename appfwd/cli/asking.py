"""The commands about denials: what was refused, what is asked, answers, and blocks."""

from __future__ import annotations

import argparse

from appfwd.bus.client import Client
from appfwd.cli.answer import Answer, direction, done, every_row, where
from appfwd.cli.ends import end, until
from appfwd.errors import InvalidArgument, NotFound, shown

#: What is granted or blocked by an answer, in words.
_ANSWERED = {"allow": "granted", "block": "blocked, and nobody is asked again"}


async def denied(client: Client, arguments: argparse.Namespace) -> Answer:
    """Show what was refused, or forget it."""
    if arguments.forget:
        if arguments.domain:
            msg = "--forget forgets everything that was refused; it goes with no other option."
            raise InvalidArgument(msg)
        count = await client.call("ForgetDenied", {})
        return done(arguments, f"forgotten: {count} refused", count=count)
    return Answer("denied", await every_row(client, "ListDenied", wanted=_domain(arguments)))


async def pending(client: Client, arguments: argparse.Namespace) -> Answer:
    """Show what is asked and not answered."""
    return Answer("pending", await every_row(client, "ListPending", wanted=_domain(arguments)))


async def answer(client: Client, arguments: argparse.Namespace) -> Answer:
    """Answer what is asked."""
    options = end(arguments)
    if arguments.answer == "block" and options:
        msg = "A block has no end; 'appfwctl unblock' takes it away."
        raise InvalidArgument(msg)
    if arguments.scope:
        options["scope"] = arguments.scope
    row = await _asked(client, arguments.asked)
    answered = await client.call("Answer", row["id"], arguments.answer, options)
    place = f"{answered['destination']}{' inbound' if row['direction'] == 'in' else ''}"
    what = f"{place} {'to' if arguments.answer == 'allow' else 'for'} {row['domain']}"
    text = f"{_ANSWERED[arguments.answer]}: {what}{until(arguments)}"
    return done(arguments, text, id=answered["id"], destination=answered["destination"])


async def blocked(client: Client, arguments: argparse.Namespace) -> Answer:
    """Show what nobody is asked about again."""
    return Answer("blocked", await every_row(client, "ListBlocked", wanted=_domain(arguments)))


async def unblock(client: Client, arguments: argparse.Namespace) -> Answer:
    """Have a place asked about again."""
    await client.call("Unblock", arguments.domain, arguments.destination, direction(arguments))
    return done(arguments, f"asked about again: {where(arguments)} for {arguments.domain}")


async def _asked(client: Client, identity: str) -> dict[str, object]:
    """Return what is asked by an id, or by enough of its beginning.

    Raises:
        NotFound: nothing is.
        InvalidArgument: it is the beginning of several.

    """
    rows = await every_row(client, "ListPending", wanted={})
    found = [row for row in rows if row["id"].startswith(identity)]
    if not found or not identity:
        msg = f"Nothing is asked by the id {shown(identity)}; 'appfwctl pending' lists what is."
        raise NotFound(msg)
    if len(found) > 1:
        msg = f"{len(found)} ids begin with {shown(identity)}; write more of it."
        raise InvalidArgument(msg)
    row: dict[str, object] = found[0]
    return row


def _domain(arguments: argparse.Namespace) -> dict[str, object]:
    return {"domain": arguments.domain} if arguments.domain else {}
