"""The questions before a person at a terminal: one at a time, answered with single keys. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from appfwd.cli.render import when
from appfwd.model.request import Request, harmless

#: Questions that wait at the most; the daemon has fewer before a person.
WAITING_AT_MOST = 64


@dataclass(frozen=True)
class Reply:
    """An answer that was typed: to what, and the options of the daemon's method Answer."""

    request: Request
    answer: str
    options: Mapping[str, object] = field(default_factory=dict)

    def text(self, answered: Mapping[str, object]) -> str:
        """Return in words what was done."""
        place = f"{answered['destination']}{_inbound(self.request)}"
        if self.answer == "block":
            return f"blocked, and nobody is asked again: {place} for {self.request.domain}"
        until = ", for 10 minutes" if "for" in self.options else ""
        return f"granted: {place} to {self.request.domain}{until}"


_REPLIES: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "a": ("allow", {"for": 600}),
    "A": ("allow", {}),
    "b": ("block", {}),
}
_MORE: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "h": ("allow", {"scope": "host"}),
    "p": ("allow", {"scope": "port"}),
    "n": ("allow", {"scope": "network"}),
    "B": ("block", {"scope": "domain"}),
}


class Board:
    """What waits to be answered; the first is before the person."""

    def __init__(self) -> None:
        self._waiting: dict[str, Request] = {}
        self._more = False

    @property
    def current(self) -> Request | None:
        """The question before the person."""
        return next(iter(self._waiting.values()), None)

    def asked(self, request: Request) -> bool:
        """Take a question; tell whether it is before the person now and was not."""
        if request.id in self._waiting:
            self._waiting[request.id] = request
            return False
        if len(self._waiting) >= WAITING_AT_MOST:
            return False
        self._waiting[request.id] = request
        return len(self._waiting) == 1

    def withdrawn(self, identity: str) -> Request | None:
        """Take a question away; return it, or None where it was not there."""
        current = self.current
        gone = self._waiting.pop(identity, None)
        if gone is not None and gone is current:
            self._more = False
        return gone

    def clear(self) -> None:
        """Take all questions away."""
        self._waiting.clear()
        self._more = False

    def key(self, key: str) -> Reply | None:
        """Take a key; return the reply that it is, after which the next question is before them."""
        request = self.current
        if request is None:
            return None
        if key in ("s", "m"):
            self._more = key == "m"
            if key == "s":
                self.withdrawn(request.id)
            return None
        meant = {**_REPLIES, **(_MORE if self._more else {})}.get(key)
        scope = "" if meant is None else str(meant[1].get("scope", "place"))
        if meant is None or not getattr(request, scope, "place"):
            return None
        self.withdrawn(request.id)
        return Reply(request, *meant)

    def lines(self) -> Iterator[str]:
        """Yield what is before the person: the question, and the keys."""
        request = self.current
        if request is not None:
            yield question(request)
            yield from _more_lines(request) if self._more else ()
            yield self.keys()

    def keys(self) -> str:
        """Return the line of keys; empty where nothing is asked."""
        if self.current is None:
            return ""
        more = len(self._waiting) - 1
        waiting = f" ({more} more)" if more else ""
        rest = "" if self._more else "m more, "
        return f"  a allow 10 minutes, A always, b block, {rest}s skip, q quit?{waiting}"


def question(request: Request) -> str:
    """Return what is asked, in one line."""
    program = harmless(request.program)
    who = f"{request.domain} (probably {program})" if program else request.domain
    name = f" ({harmless(request.name)})" if request.name else ""
    times = "" if request.count == 1 else f", {request.count} times"
    if request.direction == "in":
        return f"{who} is reached for by {request.destination}{name} inbound{times}"
    return f"{who} wants to reach {request.destination}{name}{times}"


def _more_lines(request: Request) -> Iterator[str]:
    yield f"  refused since {when(request.first)}, last {when(request.last)}"
    if request.others:
        count = request.others_count - len(request.others)
        rest = f" and {count} more" if count > 0 else ""
        yield f"  it also asked for {', '.join(map(harmless, request.others))}{rest}"
    inbound = _inbound(request)
    for key, text in (("h", request.host), ("p", request.port), ("n", request.network)):
        if text:
            yield f"  {key} always allow {text}{inbound}"
    yield f"  B block whatever {request.domain} asks for"


def _inbound(request: Request) -> str:
    return " inbound" if request.direction == "in" else ""
