"""Where the keys and values of a TOML document stand, which tomllib does not say.

Only a document that tomllib takes is walked, so no error is looked for here. Grammar: TOML 1.0.0.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass, field

#: Keys of tables and indices of arrays, from the top: ``("grant", 2, "destination", 0)``.
Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?""""{0,2}'
    r"|'''.*?''''{0,2}"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
# A space may stand between a date and its time.
_OTHER = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9][^\s,\]}#]*|[^\s,\]}#]+")


@dataclass(frozen=True, order=True)
class Place:
    """A character of the document; lines and columns count from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True)
class Places:
    """Where each value stands, by its path, and each key, by the path of its value."""

    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)

    def of(self, path: Path, *, key: bool = False) -> Place:
        """Return the place of a value, or of its ``key``; for none, of what would hold it."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Place(1, 1))


def places(text: str) -> Places:
    """Return the places within a valid document."""
    walker = _Walker(text.replace("\r\n", "\n"))
    walker.document()
    return walker.places


class _Walker:
    """Goes through a document once."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._elements: dict[Path, int] = {}  # of arrays of tables: the index of the last
        self.places = Places()

    def document(self) -> None:
        table: Path = ()
        self._skip()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip()

    def _header(self) -> Path:
        start = self._at
        of_array = self._text.startswith("[[", self._at)
        self._at += 2 if of_array else 1
        *above, last = self._key()
        self._at += 2 if of_array else 1
        path: Path = ()
        for key in above:
            path = self._last_of((*path, key))
        path = (*path, last)
        if of_array:
            self._elements[path] = self._elements.get(path, -1) + 1
            self.places.keys.setdefault(path, self._place(start))
            self.places.values.setdefault(path, self._place(start))
        path = self._last_of(path)
        self.places.keys[path] = self.places.values[path] = self._place(start)
        return path

    def _last_of(self, path: Path) -> Path:
        return (*path, self._elements[path]) if path in self._elements else path

    def _pair(self, table: Path) -> None:
        start = self._at
        path = (*table, *self._key())
        self.places.keys[path] = self._place(start)
        self._at += 1  # the equals sign
        self._skip()
        self._value(path)

    def _key(self) -> list[str]:
        """Take a key, dotted or not, and the blanks about it."""
        parts: list[str] = []
        while True:
            self._skip()
            bare = _BARE.match(self._text, self._at)
            if bare:
                parts.append(bare[0])
                self._at = bare.end()
            else:
                parts.append(tomllib.loads(f"key = {self._take(_STRING)}")["key"])
            self._skip()
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _value(self, path: Path) -> None:
        self.places.values[path] = self._place(self._at)
        match self._text[self._at]:
            case "[":
                self._list(path, "]")
            case "{":
                self._list(path, "}")
            case '"' | "'":
                self._take(_STRING)
            case _:
                self._take(_OTHER)

    def _list(self, path: Path, end: str) -> None:
        """Take an array or an inline table."""
        self._at += 1
        index = 0
        while True:
            self._skip()
            if self._text[self._at] == ",":
                self._at += 1
            elif self._text[self._at] == end:
                self._at += 1
                return
            elif end == "}":
                self._pair(path)
            else:
                self._value((*path, index))
                index += 1

    def _skip(self) -> None:
        self._take(_BLANK)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None  # noqa: S101 - the document is valid
        self._at = match.end()
        return match[0]

    def _place(self, at: int) -> Place:
        line = bisect_right(self._lines, at)
        return Place(line, at - self._lines[line - 1] + 1)
