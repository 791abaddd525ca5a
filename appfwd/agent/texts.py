"""What a notification says. Pure.

The summary has nothing that a program or a peer chose; the body has, escaped where the server
reads markup. Domains and destinations are of strict grammars, and hold no character of markup.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from appfwd.model.request import Request, harmless

Actions = tuple[tuple[str, str], ...]

#: Words of the actions' keys, with the answers that they are: (answer, options).
ANSWERS: dict[str, tuple[str, dict[str, object]]] = {
    "allow-10m": ("allow", {"for": 600}),
    "allow": ("allow", {}),
    "block": ("block", {}),
    "host": ("allow", {"scope": "host"}),
    "port": ("allow", {"scope": "port"}),
    "network": ("allow", {"scope": "network"}),
    "block-all": ("block", {"scope": "domain"}),
}
MORE, BACK = "more", "back"
#: Characters of a line of the body.
_LINE_AT_MOST = 400


class Text(NamedTuple):
    """A notification: its summary, its body, and its actions as (word, label)."""

    summary: str
    body: str
    actions: Actions


def asked(request: Request, waiting: int, *, markup: bool, actions: bool) -> Text:
    """Return the notification that asks; ``waiting`` are the questions not shown yet."""
    # The place once more: servers cut long summaries.
    lines = [*_who(request), f"Refused: {_place(request)}{_times(request.count)}."]
    if waiting:
        lines.append(f"{waiting} more {'question waits' if waiting == 1 else 'questions wait'}.")
    if not actions:
        lines.append("'appfwctl watch' and 'appfwctl answer' answer it.")
    words = (
        ("allow-10m", "Allow for 10 minutes"),
        ("allow", "Always allow"),
        ("block", "Block"),
        (MORE, "More…"),
    )
    return Text(_summary(request), _body(lines, markup=markup), words if actions else ())


def more(request: Request, *, markup: bool) -> Text:
    """Return the notification that says more, and asks about more."""
    clock = time.strftime("%H:%M:%S", time.localtime(request.last))
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(request.first))
    refused = f"Refused: {_place(request)}{_times(request.count)} since {since}, last at {clock}."
    lines = [*_who(request), refused]
    if request.others:
        rest = request.others_count - len(request.others)
        also = f", and {rest} more" if rest > 0 else ""
        lines.append(f"Also refused: {', '.join(request.others)}{also}.")
    wider = [
        (word, place)
        for word, place in (
            ("host", request.host),
            ("port", request.port),
            ("network", request.network),
        )
        if place
    ]
    lines += [f"The whole {word} is {place}." for word, place in wider if word != "port"]
    lines += [f"The port everywhere is {place}." for word, place in wider if word == "port"]
    words = (
        *((word, f"Allow {word}") for word, _ in wider),
        ("block-all", "Block all"),
        (BACK, "Back"),
    )
    return Text(_summary(request), _body(lines, markup=markup), words)


def failed(request: Request, why: str, *, markup: bool) -> Text:
    """Return the notification that says why an answer was not taken."""
    return Text(f"Not answered: {_summary(request)}", _body([why], markup=markup), ())


def _summary(request: Request) -> str:
    if request.direction == "in":
        return f"{request.peer} wants to reach {request.domain} at {_service(request)}"
    return f"{request.domain} wants to reach {request.destination}"


def _service(request: Request) -> str:
    """Return port and protocol of an inbound place."""
    _, _, service = request.destination.rpartition("]" if "[" in request.destination else ":")
    return f"port {service.removeprefix(':')}"


def _who(request: Request) -> Iterator[str]:
    program = harmless(request.program)
    if program:
        yield f"The program is probably {program}."
    if request.name:
        yield f"{request.peer} is called {harmless(request.name)}."


def _place(request: Request) -> str:
    return f"{request.destination}{' inbound' if request.direction == 'in' else ''}"


def _times(count: int) -> str:
    return "" if count == 1 else f", {count} times"


def _body(lines: list[str], *, markup: bool) -> str:
    text = "\n".join(harmless(line, _LINE_AT_MOST) for line in lines)
    # Quotes stay: GNOME knows but five entities, and html.escape's of a quote is none of them.
    return escape(text, quote=False) if markup else text
