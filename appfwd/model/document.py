"""The desired state as a TOML document, for people to keep and programs to make.

    [settings]                              # each may be left out, and stays as it is then
    bridge = "open"                         # open, observed or closed
    strict = false
    baseline = true

    [[guard]]
    destination = ["10.0.0.5:3128"]         # one, or a list
    direction = "out"                       # which it is where not given

    [[fence]]
    domain = ["mozilla_t"]                  # one, or a list
    loopback = true
    dns = true

    [[grant]]
    domain = "mozilla_t"
    destination = "any:443"
    until = 2030-12-24T18:00:00Z            # or boot = true; for good where neither is given

A grant that ends with a login session has ``session`` and ``opened``, which tell of one.

Guards, fences and grants are all that there shall be: what the document does not name goes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from appfwd.errors import AppfwdError, InvalidArgument, InvalidDocument, shown
from appfwd.model.destination import Destination, Direction, parse_destination
from appfwd.model.domain import parse_domain
from appfwd.model.ends import LAST_TIME, At, End, Session, WithBoot, WithSession
from appfwd.model.fence import Fence
from appfwd.model.state import Bridge, Grant, Guard
from appfwd.model.tomlplaces import Path, Place, places

T = TypeVar("T", Guard, Grant, Fence)

#: Bytes that a document may have; 100,000 grants, one to a line, have half of that.
DOCUMENT_AT_MOST = 8 << 20
#: Grants that a document may come to: a list of domains by one of destinations is a product.
GRANTS_AT_MOST = 200_000
#: Dotted keys (a.b.c) need memory by the square of their length in tomllib; ours have no dot.
_DOTTED = re.compile(r"\.(?:[ \t]*[\w-]*[ \t]*\.){15}")
_QUOTED = re.compile(r"\"[^\"\\\n]*(?:\\.[^\"\\\n]*)*\"|'[^'\n]*'|#[^\n]*")
#: Wrong places that are told of at once.
_TOLD_AT_MOST = 10
#: What a grant's end is given by.
_ENDS = ("until", "boot", "session", "opened")
_SETTINGS = {"bridge": str, "strict": bool, "baseline": bool}
_TOO_DEEP = "line 1, column 1: This is no document of appfwd's: its values are too deep or long."
_SYNTAX = re.compile(r"(.*) \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)", re.DOTALL)


@dataclass(frozen=True)
class Document:
    """What a document says; members as they are named there, each with the path that it has.

    Settings are None where the document has none. Fences have nothing kept yet. ``ends`` has the
    end of each grant that has one.
    """

    text: str = field(repr=False)
    guards: Mapping[Guard, Path]
    grants: Mapping[Grant, Path]
    fences: Mapping[Fence, Path]
    ends: Mapping[Grant, End]
    bridge: Bridge | None = None
    strict: bool | None = None
    baseline: bool | None = None


def parse_document(text: str) -> Document:
    """Parse a document.

    Raises:
        InvalidDocument: with the line and column of each wrong place, ten at most.

    """
    if len(text.encode()) > DOCUMENT_AT_MOST:
        msg = f"line 1, column 1: A document has at most {DOCUMENT_AT_MOST} bytes."
        raise InvalidDocument(msg)
    if _DOTTED.search(_QUOTED.sub("", text)):
        raise InvalidDocument(_TOO_DEEP)
    reader = _Reader(_toml(text))
    document = reader.document(text)
    reject(text, reader.problems)
    return document


def _end_of(table: Mapping[str, Any]) -> End:
    if "until" in table:
        return At(table["until"].timestamp())
    if "session" in table:
        return WithSession(Session(table["session"], round(table["opened"].timestamp() * 1e6)))
    return WithBoot()


@dataclass(frozen=True)
class Problem:
    """What is wrong with the value, or ``at_key`` with the key, that has a path."""

    path: Path
    error: AppfwdError
    at_key: bool = False


def reject(text: str, problems: Sequence[Problem]) -> None:
    """Raise where there are problems.

    Raises:
        InvalidDocument: of the document ``text``, with where and what each problem is.

    """
    if not problems:
        return
    try:
        where = places(text)
    except RecursionError:
        raise InvalidDocument(_TOO_DEEP) from None
    found = sorted({(where.of(one.path, key=one.at_key), str(one.error)) for one in problems})
    lines = [f"{place}: {sentence}" for place, sentence in found[:_TOLD_AT_MOST]]
    if len(found) > _TOLD_AT_MOST:
        lines.append(f"{found[_TOLD_AT_MOST][0]}: and {len(found) - _TOLD_AT_MOST} more.")
    raise InvalidDocument("\n".join(lines))


def _toml(text: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX.fullmatch(str(error))
        what = match[1] if match else str(error)
        place = _last_of(text)
        if match and match[2]:
            place = Place(int(match[2]), int(match[3]))
        msg = f"{place}: This is not TOML: {shown(what)}."
    except (RecursionError, ValueError):  # the latter of numbers with thousands of digits
        msg = _TOO_DEEP
    raise InvalidDocument(msg) from None


def _last_of(text: str) -> Place:
    return Place(text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1)


class _Reader:
    """Reads tables; whatever is wrong is noted, and the rest is read on."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._table = table
        self._grants_left = GRANTS_AT_MOST
        self._ends: dict[Grant, End | None] = {}
        self.problems: list[Problem] = []

    def document(self, text: str) -> Document:
        self._known((), self._table, ("settings", "guard", "fence", "grant"))
        bridge, strict, baseline = self._settings()
        guards = dict(self._members("guard", self._guards))
        fences = dict(self._members("fence", self._fences))
        grants = dict(self._members("grant", self._grants))
        ends = {grant: end for grant, end in self._ends.items() if end is not None}
        return Document(text, guards, grants, fences, ends, bridge, strict, baseline)

    def _settings(self) -> tuple[Bridge | None, bool | None, bool | None]:
        path: Path = ("settings",)
        table = self._table.get("settings", {})
        if not isinstance(table, dict):
            self._wrong(path, "'settings' is a table: write [settings] and its keys below.")
            return None, None, None
        self._known(path, table, tuple(_SETTINGS))
        for key, kind in _SETTINGS.items():
            if key in table and type(table[key]) is not kind:
                what = "true or false" if kind is bool else "a string"
                self._wrong((*path, key), f"'{key}' is {what}.")
                return None, None, None
        bridge = None
        try:
            bridge = Bridge(table["bridge"]) if "bridge" in table else None
        except ValueError:
            self._wrong((*path, "bridge"), "'bridge' is 'open', 'observed' or 'closed'.")
        if table.get("strict") and bridge is not Bridge.CLOSED:
            self._wrong((*path, "strict"), "'strict' goes with 'bridge = \"closed\"' alone.")
        return bridge, table.get("strict"), table.get("baseline")

    def _members(
        self, kind: str, read: Callable[[Path, Mapping[str, Any]], Iterator[tuple[T, Path]]]
    ) -> Iterator[tuple[T, Path]]:
        tables = self._table.get(kind, [])
        if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
            self._wrong((kind,), f"Write [[{kind}]], with two brackets, above each one's keys.")
            return
        for number, table in enumerate(tables):
            yield from read((kind, number), table)

    def _guards(self, path: Path, table: Mapping[str, Any]) -> Iterator[tuple[Guard, Path]]:
        self._known(path, table, ("destination", "direction"))
        direction = self._direction(path, table)
        for where, place in self._destinations(path, table, direction):
            yield Guard(place), where

    def _fences(self, path: Path, table: Mapping[str, Any]) -> Iterator[tuple[Fence, Path]]:
        self._known(path, table, ("domain", "loopback", "dns"))
        spared = {key: table.get(key, True) for key in ("loopback", "dns")}
        for key, value in spared.items():
            if type(value) is not bool:
                self._wrong((*path, key), f"'{key}' is true or false.")
                return
        for where, domain in self._domains(path, table):
            yield Fence(domain, **spared), where

    def _grants(self, path: Path, table: Mapping[str, Any]) -> Iterator[tuple[Grant, Path]]:
        self._known(path, table, ("domain", "destination", "direction", *_ENDS))
        direction, end = self._direction(path, table), self._end(path, table)
        places_of = {d: where for where, d in self._destinations(path, table, direction)}
        domains = {domain: where for where, domain in self._domains(path, table)}
        self._grants_left -= len(places_of) * len(domains)
        if self._grants_left < 0:
            self._wrong(path, f"A document comes to at most {GRANTS_AT_MOST} grants.")
            return
        for domain, of_domain in domains.items():
            for destination, where in places_of.items():
                grant = Grant(domain, destination)
                if self._ends.setdefault(grant, end) != end:
                    self._wrong(where, "This is granted twice, with different ends.")
                yield grant, of_domain

    def _destinations(
        self, path: Path, table: Mapping[str, Any], direction: Direction
    ) -> Iterator[tuple[Path, Destination]]:
        for where, text in self._texts(path, table, "destination"):
            try:
                yield where, parse_destination(text, direction)
            except AppfwdError as error:
                self.problems.append(Problem(where, error))

    def _domains(self, path: Path, table: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        for where, text in self._texts(path, table, "domain"):
            try:
                yield where, parse_domain(text)
            except AppfwdError as error:
                self.problems.append(Problem(where, error))

    def _end(self, path: Path, table: Mapping[str, Any]) -> End | None:
        for key in ("until", "opened"):
            time = table.get(key)
            if key in table and not (isinstance(time, datetime) and time.tzinfo is not None):
                msg = f"'{key}' is a date and time with its zone, like 2030-12-24T18:00:00+01:00."
                self._wrong((*path, key), msg)
                return None
            if isinstance(time, datetime) and not 0 <= time.timestamp() <= LAST_TIME:
                self._wrong((*path, key), f"'{key}' is from 1970 to 9999, in UTC.")
                return None
        boot, session = table.get("boot", False), table.get("session", "")
        if type(boot) is not bool:
            self._wrong((*path, "boot"), "'boot' is true or false.")
            return None
        both = ("session" in table) is ("opened" in table)
        if not (isinstance(session, str) and both and (session or "session" not in table)):
            msg = "'session' is the id of a login session, as a string, and goes with 'opened'."
            self._wrong((*path, "session" if "session" in table else "opened"), msg)
            return None
        given = [key for key in ("until", "boot", "session") if table.get(key)]
        if len(given) > 1:
            self._wrong((*path, given[1]), f"'{given[0]}' and '{given[1]}' exclude each other.")
            return None
        return _end_of(table) if given else None

    def _direction(self, path: Path, table: Mapping[str, Any]) -> Direction:
        try:
            return Direction(table.get("direction", "out"))
        except ValueError:
            self._wrong((*path, "direction"), "'direction' is 'out' or 'in'.")
            return Direction.OUT

    def _texts(self, path: Path, table: Mapping[str, Any], key: str) -> Iterator[tuple[Path, str]]:
        """Yield the strings of a key that has one or a list of them."""
        where, value = (*path, key), table.get(key)
        if isinstance(value, str):
            yield where, value
        elif isinstance(value, list) and all(isinstance(one, str) for one in value):
            yield from (((*where, number), one) for number, one in enumerate(value))
        elif key not in table:
            self._wrong(path, f"A {path[0]} has a '{key}'.")
        else:
            self._wrong(where, f"'{key}' is a string, or a list of strings.")

    def _known(self, path: Path, table: Mapping[str, Any], keys: Sequence[str]) -> None:
        for key in table:
            if key not in keys:
                what = f"There is no {shown(key)} here; those known are {', '.join(keys)}."
                if key == "for" and "until" in keys:
                    what = "A length of time would begin anew each time: write 'until'."
                self.problems.append(Problem((*path, key), InvalidArgument(what), at_key=True))

    def _wrong(self, path: Path, sentence: str) -> None:
        self.problems.append(Problem(path, InvalidArgument(sentence)))
