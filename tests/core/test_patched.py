"""Mappings that share what they have are mappings like any other, whatever they were made of."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.model import patched
from appfwd.model.patched import Patched

ENTRIES = st.dictionaries(st.integers(0, 9), st.sampled_from("abc"))
#: What one is made of, by its number; what changes; and whether all of it is walked through.
STEP = st.tuples(
    st.integers(0, 99),
    st.dictionaries(st.integers(0, 9), st.sampled_from(["a", "b", None])),
    st.booleans(),
)


def changed(entries: Mapping[int, str], changes: Mapping[int, str | None]) -> dict[int, str]:
    kept = {key: value for key, value in entries.items() if key not in changes}
    return {**kept, **{key: value for key, value in changes.items() if value is not None}}


@given(ENTRIES, st.lists(STEP, max_size=8), st.integers(0, 4))
def test_whatever_changes_they_are_those_of_any_mapping(
    start: dict[int, str], steps: list[tuple[int, dict[int, str | None], bool]], at_least: int
) -> None:
    plain, made = [start], [Patched(start)]
    with patch.object(patched, "_PATCH_AT_LEAST", at_least):
        for number, changes, walked in steps:
            of = number % len(plain)
            plain.append(changed(plain[of], changes))
            made.append(made[of].changed(changes))
            if walked:
                assert [*made[of]] == [*plain[of]]
    for one, same in zip(plain, made, strict=True):
        assert len(same) == len(one)
        assert [same.get(key) for key in range(10)] == [one.get(key) for key in range(10)]
        assert [key in same for key in range(10)] == [key in one for key in range(10)]
        for other, like in zip(plain, made, strict=True):
            differ = {key for key in range(10) if one.get(key) != other.get(key)}
            assert differ <= same.unlike(like)
            assert differ <= same.unlike(other)
            assert (same == like) is (same == other) is (one == like) is (one == other)
    for one, same in zip(plain, made, strict=True):
        assert [*same.items()] == [*one.items()] == [(key, same[key]) for key in same]
        assert [*same.items()] == [*zip(same.keys(), same.values(), strict=True)]


def test_what_differs_is_told_without_a_look_at_the_rest() -> None:
    first = Patched(dict.fromkeys(range(10_000), "a"))
    second = first.changed({3: None, 4: "b"})
    third = second.changed({5: "c"})
    assert second.unlike(first) == first.unlike(second) == {3, 4}
    assert third.unlike(first) == {3, 4, 5}
    assert first.unlike(first) == frozenset()
    many = third
    for number in range(1000):
        before, many = many, many.changed({number: "d"})
        assert many.unlike(before) == {number}
    assert dict(many) == {**dict(third), **dict.fromkeys(range(1000), "d")}


def test_what_is_not_there_is_an_error_and_they_can_be_copied() -> None:
    one = Patched({1: "a", 2: "b"}).changed({1: None})
    for key in (1, 3):
        with pytest.raises(KeyError):
            one[key]
    assert one.get(1, "x") == "x"
    for same in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):  # noqa: S301
        assert same == one == {2: "b"}
        assert type(same) is Patched
    assert one != [2]
