"""What a notification says. Pure.

The summary has nothing that a program or a peer chose; the body has, escaped where the server
reads markup. Domains and destinations are of strict grammars, and hold no character of markup.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from html import escape
from typing import NamedTuple, Self

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
#: The key of a click on the notification itself, where nothing else is said of it.
CLICK = "default"
_FIRST = (("allow-10m", "Allow for 10 minutes"), ("allow", "Always allow"), ("block", "Block"))
_BLOCK_ALL = ("block-all", "Block all")
#: Buttons that GNOME's server draws of a notification at the most.
_FEW = 3
#: Characters of a line of the body.
_LINE_AT_MOST = 400


class About(NamedTuple):
    """What a server can do: read markup, draw buttons, and whether it draws but few of them."""

    markup: bool
    actions: bool
    few: bool = False

    @classmethod
    def of(cls, capabilities: Collection[str], name: str) -> Self:
        """Return it of what a server tells of itself."""
        # Its MAX_NOTIFICATION_BUTTONS is 3 (js/ui/messageTray.js).
        return cls("body-markup" in capabilities, "actions" in capabilities, name == "gnome-shell")


class Text(NamedTuple):
    """A notification: its summary, its body, and its actions as (word, label)."""

    summary: str
    body: str
    actions: Actions


def page(request: Request, number: int, waiting: int, about: About) -> Text:
    """Return a page of the notification that asks; pages go round.

    The first one asks, others say more, and ask about more; ``waiting`` are the questions that are
    not shown yet.
    """
    pages = _pages(request, few=about.few)
    number %= len(pages)
    lines = _more(request) if number else _asked(request, waiting)
    if not about.actions:
        lines.append("'appfwctl watch' and 'appfwctl answer' answer it.")
    last = number == len(pages) - 1
    turns = (BACK, "Back") if last else (MORE, "More…")
    # Where that button is one too many to be drawn, a click on the rest turns the page.
    also = ((CLICK, turns[1]),) if about.few else ()
    words = (*pages[number], turns, *also) if about.actions else ()
    return Text(_summary(request), _body(lines, markup=about.markup), words)


def _pages(request: Request, *, few: bool) -> list[Actions]:
    """Return the answers by page."""
    wider = (*((word, f"Allow {word}") for word, _ in _wider(request)), _BLOCK_ALL)
    if not few:
        return [_FIRST, wider]
    return [_FIRST, *(wider[at : at + _FEW] for at in range(0, len(wider), _FEW))]


def _wider(request: Request) -> list[tuple[str, str]]:
    """Return what could be allowed beside the place, with the answers that do it."""
    places = (("host", request.host), ("port", request.port), ("network", request.network))
    return [(word, place) for word, place in places if place]


def _asked(request: Request, waiting: int) -> list[str]:
    # The place once more: servers cut long summaries.
    lines = [*_who(request), f"Refused: {_place(request)}{_times(request.count)}."]
    if waiting:
        lines.append(f"{waiting} more {'question waits' if waiting == 1 else 'questions wait'}.")
    return lines


def _more(request: Request) -> list[str]:
    clock = time.strftime("%H:%M:%S", time.localtime(request.last))
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(request.first))
    refused = f"Refused: {_place(request)}{_times(request.count)} since {since}, last at {clock}."
    lines = [*_who(request), refused]
    if request.others:
        rest = request.others_count - len(request.others)
        also = f", and {rest} more" if rest > 0 else ""
        lines.append(f"Also refused: {', '.join(request.others)}{also}.")
    wider = _wider(request)
    lines += [f"The whole {word} is {place}." for word, place in wider if word != "port"]
    lines += [f"The port everywhere is {place}." for word, place in wider if word == "port"]
    return lines


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
