"""Every key and value of any document is found, and what stands there is what tomllib reads."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.model.tomlplaces import Path, Place, places

_KEYS = st.sampled_from(("a", "b-1", "1", '"x.y"', "'q r'", '"\\u00e9"', '""'))
_SCALARS = st.sampled_from(
    (
        *("1", "-0x", "true", "3.5e2", '"s"', "'l'", '"a\\"b"', '"""m\n"x" \\\\"""', '""""q""""'),
        *("'''l\n'''", "2026-01-02 03:04:05Z", "2026-01-02", "03:04:05", '"[#]"', '"\\\\"'),
    )
).map(lambda text: "0x0" if text == "-0x" else text)
_BLANKS = st.sampled_from(("", " ", "\n", " # ] } \n  ", "\t"))


@st.composite
def _arrays(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    parts = draw(st.lists(inner, max_size=3))
    blank = draw(_BLANKS)
    return "[" + blank + ",".join(f"{blank}{part}{blank}" for part in parts) + "]"


@st.composite
def _inlines(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    keys = draw(st.lists(_KEYS, max_size=3, unique=True))
    return "{" + ", ".join(f"{key} = {draw(inner)}" for key in keys) + "}"


_VALUES = st.recursive(_SCALARS, lambda v: st.one_of(_arrays(v), _inlines(v)), max_leaves=6)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Return lines of pairs, tables and arrays of tables; some are no TOML."""
    lines: list[str] = []
    for _ in range(draw(st.integers(0, 8))):
        key = ".".join(draw(st.lists(_KEYS, min_size=1, max_size=2)))
        kind = draw(st.sampled_from(("pair", "pair", "[]", "[[]]", "# [x]", "")))
        if kind == "pair":
            lines.append(f"{draw(st.sampled_from(('', '  ')))}{key} = {draw(_VALUES)}")
        else:
            lines.append({"[]": f"[{key}]", "[[]]": f"[[ {key} ]] # x"}.get(kind, kind))
    return draw(st.sampled_from(("\n", "\r\n"))).join(lines)


def leaves(value: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from leaves(part, (*path, number))
    else:
        yield path, value


def read_at(text: str, place: Place) -> object:
    """Return the value that stands at a place, as tomllib reads it from there."""
    lines = text.replace("\r\n", "\n").split("\n")
    rest = "\n".join([lines[place.line - 1][place.column - 1 :], *lines[place.line :]])
    for end in range(1, len(rest) + 1):
        try:
            found: dict[str, Any] = tomllib.loads(f"key = {rest[:end]}")
        except tomllib.TOMLDecodeError:
            continue
        if end == len(rest) or rest[end] in ",]}# \n\t":
            yet = rest[end : end + 2].strip()[:1]
            if yet.isdigit() and "T" not in rest[:end]:  # a date whose time follows
                continue
            return found["key"]
    raise AssertionError(rest)


@given(documents())
def test_every_value_is_where_it_is_said_to_be(text: str) -> None:
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = places(text)
    for path, value in leaves(whole):
        assert path in found.values, path
        assert read_at(text, found.values[path]) == value
        if isinstance(path[-1], str):
            assert path in found.keys


STORY = """\
# no [table]
a.b = 1
[[grant]]
domain = "x"
destination = ["10.0.0.1",   # one
  '''10.0.0.2'''
]
[[grant]]
more = {here = 1}
"""


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("a", "b"), Place(2, 7)),
        (("grant",), Place(3, 1)),
        (("grant", 0), Place(3, 1)),
        (("grant", 0, "destination", 1), Place(6, 3)),
        (("grant", 1, "more", "here"), Place(9, 16)),
        (("grant", 1, "missing"), Place(8, 1)),
        (("nothing",), Place(1, 1)),
    ],
    ids=str,
)
def test_places_of_a_story(path: Path, place: Place) -> None:
    assert places(STORY).of(path) == place


def test_the_key_of_a_pair_has_a_place_of_its_own() -> None:
    assert places(STORY).of(("grant", 1, "more", "here"), key=True) == Place(9, 9)
