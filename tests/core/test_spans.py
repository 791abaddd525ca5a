"""The ranges that a map's cells lie in, as rules have them and as libnftables lists them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.core.compiler import compile_next
from appfwd.core.expressions import Rule, among, ct
from appfwd.core.listing import as_written
from appfwd.core.spans import AT_MOST, spans_of
from appfwd.core.table import Table
from appfwd.model.addresses import AddressRange, Family
from tests.core.compiled import Compiled
from tests.core.kernelmodel import KernelModel
from tests.core.samples import make_policy
from tests.core.stories import state_of

LAST = Family.IPV4.last
_ENDS = st.sampled_from([*range(9), LAST - 2, LAST - 1, LAST])


def _range(first: int, last: int) -> AddressRange:
    return AddressRange(Family.IPV4, first, last)


_RANGES = st.lists(
    st.tuples(_ENDS, _ENDS).map(sorted).map(lambda ends: _range(*ends)), min_size=1, max_size=6
)


@given(_RANGES, _ENDS)
def test_an_address_is_in_a_span_where_it_is_in_a_range(
    ranges: list[AddressRange], at: int
) -> None:
    spans = spans_of(ranges)
    inside = any(one.first <= at <= one.last for one in ranges)
    assert any(one.first <= at <= one.last for one in spans) is inside or not spans
    assert list(spans) == sorted(spans)
    for one, following in pairwise(spans):
        assert one.last + 1 < following.first
    assert spans or any(one.first == 0 for one in ranges)


def test_of_too_many_ranges_and_of_all_addresses_there_are_no_spans() -> None:
    many = [_range(2 * n, 2 * n) for n in range(AT_MOST + 1)]
    assert len(spans_of(many[1:])) == AT_MOST
    assert spans_of(many) == ()
    assert spans_of([_range(5, LAST), _range(0, 4)]) == ()
    assert spans_of([*many, _range(0, 2 * AT_MOST)]) == (_range(0, 2 * AT_MOST),)


# What libnftables 1.1.3 lists for what we write (ct original ip daddr).
_FORMS = (
    (["10.0.0.5"], "10.0.0.5"),
    (["10.8.0.0/16"], {"prefix": {"addr": "10.8.0.0", "len": 16}}),
    (["10.0.0.1-10.0.0.7"], {"range": ["10.0.0.1", "10.0.0.7"]}),
    (
        ["10.0.0.5", "128.0.0.0/1"],
        {"set": ["10.0.0.5", {"prefix": {"addr": "128.0.0.0", "len": 1}}]},
    ),
    (
        ["192.168.0.0/16", "10.0.0.1-10.0.0.7"],
        {
            "set": [
                {"prefix": {"addr": "192.168.0.0", "len": 16}},
                {"range": ["10.0.0.1", "10.0.0.7"]},
            ]
        },
    ),
    (
        ["[fe80::1]", "[::1.2.3.4]"],
        {"set": ["::1.2.3.4", "fe80::1"]},
    ),
)


@pytest.mark.parametrize(("guards", "listed"), _FORMS)
def test_a_listing_is_read_as_it_was_written(guards: list[str], listed: object) -> None:
    family = "ip6" if guards[0].startswith("[") else "ip"
    key = ct(f"{family} daddr", "original")
    (wanted,) = {
        repr(expr): expr
        for rule in _rules(Compiled(state_of(*guards), make_policy()).table)
        for expr in rule
        if expr.get("match", {}).get("left") == key
    }.values()
    assert as_written({"match": {"op": "==", "left": key, "right": listed}}) == wanted
    other = among(key, [AddressRange(Family.IPV4 if family == "ip" else Family.IPV6, 7, 9)])
    assert as_written(other) == other != wanted


def _rules(table: Table) -> list[Rule]:
    return [rule for chain in table.chains.values() for rule in chain.rules]


def test_a_step_changes_the_spans_as_the_whole_compile_does() -> None:
    """Networks come one by one, until they are too many, and go again."""
    machine = KernelModel(make_policy()).machine()
    guards = [f"10.{2 * n}.0.0/16" for n in range(AT_MOST + 2)]
    states = [state_of(*guards[:n]) for n in (1, 2, AT_MOST, AT_MOST + 1, AT_MOST, 1, 2)]
    before = None
    for state in states:
        before = compile_next(before, state, machine)
        assert before.table == compile_next(None, state, machine).table
        matched = [rule for rule in _rules(before.table) if "ip daddr" in repr(rule[0])]
        assert any("match" in rule[0] for rule in matched) is (len(state.guards) <= AT_MOST)
