"""The table's difference as commands, on a strict model of the kernel's nf_tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.core.listing import NotOurs, counters, decode_table, is_orphan
from appfwd.core.nft import Json, adopt_commands, delete_commands, table_commands
from appfwd.core.table import Table
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import DesiredState
from tests.core.compiled import Compiled
from tests.core.nftmodel import NftModel, Refused
from tests.core.samples import make_policy, policies, states
from tests.core.stories import state_of


def _table(state: DesiredState, policy: LoadedPolicy | None = None) -> Table:
    return Compiled(state, policy or make_policy()).table


def _run(model: NftModel, commands: Sequence[Json]) -> None:
    """Run a transaction, if there is one, as the bytes that libnftables gets."""
    if commands:
        model.transaction(json.loads(json.dumps(commands)))


def _has(model: NftModel, table: Table) -> bool:
    return decode_table(model.listing()) == table


@given(states(), states(), policies())
def test_commands_lead_from_any_state_to_any_other(
    old: DesiredState, new: DesiredState, policy: LoadedPolicy
) -> None:
    """And nothing in between is refused: no name before its object, none deleted while in use."""
    model, before, after = NftModel(), _table(old, policy), _table(new, policy)
    _run(model, table_commands(Table(), before))
    assert _has(model, before)
    _run(model, table_commands(before, after))
    assert _has(model, after)
    _run(model, table_commands(after, Table()))
    assert _has(model, Table())


@given(states(), policies())
def test_no_commands_where_nothing_differs(state: DesiredState, policy: LoadedPolicy) -> None:
    assert table_commands(_table(state, policy), _table(state, policy)) == []


@given(states(), states())
def test_a_table_that_is_not_ours_is_made_anew_in_one_transaction(
    other: DesiredState, new: DesiredState
) -> None:
    model = NftModel()
    _run(model, table_commands(Table(), _table(other)))
    model.exists, model.flags = True, ["owner", "persist"]
    model.foreign = [{"set": {"family": "inet", "table": "appfwd", "name": "x"}}]
    with pytest.raises(NotOurs):
        decode_table(model.listing())
    _run(model, table_commands(None, _table(new)))
    assert _has(model, _table(new))


@given(states())
def test_the_whole_table_can_be_taken_away(state: DesiredState) -> None:
    model = NftModel()
    _run(model, [*adopt_commands(), *table_commands(Table(), _table(state))])
    _run(model, delete_commands())
    assert model == NftModel()


def test_an_orphan_is_ours_by_content_and_adopted() -> None:
    """The process that made the table has ended: the kernel takes the owner's flag away."""
    model = NftModel()
    _run(model, table_commands(Table(), _table(state_of("10.0.0.5"))))
    assert not is_orphan(model.listing())
    model.orphan()
    assert is_orphan(model.listing())
    assert _has(model, _table(state_of("10.0.0.5")))
    _run(model, adopt_commands())
    assert not is_orphan(model.listing())
    assert not is_orphan([])


@pytest.mark.parametrize("flags", [[], ["dormant"], ["owner"], ["dormant", "owner", "persist"]])
def test_a_table_with_other_flags_is_not_ours_and_made_anew(flags: list[str]) -> None:
    model, table = NftModel(exists=True, flags=flags), _table(state_of("10.0.0.5"))
    with pytest.raises(NotOurs):
        decode_table(model.listing())
    _run(model, table_commands(None, table))
    assert _has(model, table)


def test_one_grant_touches_one_element_and_no_rule() -> None:
    """The cost of a grant does not grow with the table."""
    guards = [f"10.0.0.{n}:80/tcp" for n in range(0, 200, 2)]
    grants = (("a_t", "10.0.0.2:80/tcp"), ("b_t", "10.0.0.4:80/tcp"))
    before = _table(state_of(*guards, grants=grants[:1]))
    commands = table_commands(before, _table(state_of(*guards, grants=grants)))
    kinds = [(verb, *what) for command in commands for verb, what in command.items()]
    assert sorted(kinds) == [
        ("add", "element"),
        ("add", "secmark"),
        ("add", "table"),
        ("delete", "element"),
    ]
    rows = [c[verb].get("element", {}).get("elem", ()) for c in commands for verb in c]
    assert [len(row) for row in rows if row] == [1, 1]


def test_many_deletions_make_the_map_anew() -> None:
    """The kernel takes long for each element deleted from an interval map."""
    commands = _shrunk("80-81/tcp")
    assert not any("element" in command.get("delete", {}) for command in commands)


def test_points_go_one_by_one_however_many() -> None:
    """A map without intervals does not mind, and one of 100,000 takes long to make anew."""
    commands = _shrunk("80/tcp")
    assert not any("map" in command.get("delete", {}) for command in commands)


def _shrunk(service: str) -> Sequence[Json]:
    """Return the commands after which of 100 hosts one is left; they are run."""
    before = _table(state_of(*(f"10.0.0.{n}:{service}" for n in range(0, 200, 2))))
    after = _table(state_of(f"10.0.0.0:{service}"))
    model = NftModel()
    _run(model, table_commands(Table(), before))
    commands = table_commands(before, after)
    _run(model, commands)
    assert _has(model, after)
    return commands


def test_an_object_never_changes_its_context_under_its_name() -> None:
    """The kernel ignores a second ``add`` silently, so the table is made anew."""
    table = _table(state_of("10.0.0.5"))
    other = Table(
        {name: context + ":c0" for name, context in table.contexts.items()},
        table.maps,
        table.points,
        chains=table.chains,
    )
    model = NftModel()
    _run(model, table_commands(Table(), other))
    _run(model, table_commands(other, table))
    assert _has(model, table)


# What may stand in a listing: whatever it is, a table or NotOurs comes of it.

_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 70000), st.sampled_from(["", "x", "tcp", "10.0.0.1"])
)


def _mutate(value: Any, path: list[int], new: Any) -> Any:
    """Return ``value`` with one place in it replaced, the place chosen by ``path``."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    at = keys[path[0] % len(keys)]
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    changed[at] = _mutate(value[at], path[1:], new)
    return changed


@given(
    states(),
    st.lists(st.integers(0, 200), min_size=2, max_size=8),
    st.one_of(_SCALARS, st.lists(_SCALARS, max_size=3), st.just({"range": ["a", "b"]})),
)
def test_any_listing_is_a_table_or_not_ours(state: DesiredState, path: list[int], new: Any) -> None:
    model = NftModel()
    _run(model, table_commands(Table(), _table(state)))
    with suppress(NotOurs):  # any other exception fails the test
        assert isinstance(decode_table(_mutate(model.listing(), path, new)), Table)


@pytest.mark.parametrize(
    "foreign",
    [
        {"map": {"family": "inet", "table": "appfwd", "name": "mine", "type": "mark"}},
        {"chain": {"name": "x", "hook": "input", "type": "filter", "policy": "drop", "prio": 0}},
        {"rule": {"chain": "input", "expr": [], "comment": "by hand"}},
        {"counter": {"name": "x"}},
        {"flowtable": {"name": "x"}},
    ],
)
def test_what_others_added_is_seen(foreign: Json) -> None:
    model = NftModel()
    _run(model, table_commands(Table(), _table(state_of("10.0.0.5"))))
    decode_table(model.listing())
    model.foreign = [foreign]
    with pytest.raises(NotOurs):
        decode_table(model.listing())


def test_a_rule_or_element_added_by_hand_makes_another_table() -> None:
    table = _table(state_of("10.0.0.5"))
    model = NftModel()
    _run(model, table_commands(Table(), table))
    model.rules["output"].append([{"accept": None}])
    with pytest.raises(NotOurs):  # it is made anew as a whole
        decode_table(model.listing())
    model.rules["output"].pop()
    model.rules["output_lookup"].append([{"accept": None}])
    read = decode_table(model.listing())
    assert read != table
    _run(model, table_commands(read, table))
    assert _has(model, table)


def test_counters_are_summed_over_all_lookups_of_a_map() -> None:
    model = NftModel()
    _run(model, table_commands(Table(), _table(state_of("10.0.0.5"))))
    lookups = sum(
        e["secmark"]["map"]["data"] == "@out_guard4"
        for rules in model.rules.values()
        for rule in rules
        for e in rule
        if isinstance(e.get("secmark"), dict)
    )
    assert lookups > 1
    assert counters(model.listing()) == {
        "out_guard4": {"packets": 7 * lookups, "bytes": 420 * lookups}
    }


@pytest.mark.parametrize(
    "commands",
    [
        [],
        [{"delete": {"table": {"family": "inet", "name": "appfwd"}}}],
        [{"add": {"table": {"flags": []}}}, {"flush": {"chain": {"name": "x"}}}],
        [{"add": {"table": {"flags": []}}}, {"delete": {"map": {"name": "x"}}}],
        [{"add": {"table": {"flags": []}}}, {"delete": {"secmark": {"name": "x"}}}],
        [{"add": {"table": {"flags": []}}}, {"add": {"rule": {"chain": "x", "expr": []}}}],
    ],
)
def test_the_model_itself_refuses(commands: list[Json]) -> None:
    """A model that took everything would prove nothing; a refusal leaves all as it was."""
    model = NftModel()
    with pytest.raises(Refused):
        model.transaction(commands)
    assert model == NftModel()


@pytest.mark.parametrize(
    ("verb", "kind", "value"),
    [
        ("delete", "map", {"name": "out_guard4"}),
        ("delete", "secmark", {"name": "appfwd_nobody_packet_t"}),
        ("delete", "secmark", {"name": "unlabeled_t"}),
        ("delete", "chain", {"name": "out_flow"}),
        ("add", "secmark", {"name": "unlabeled_t", "context": "x"}),
        ("add", "chain", {"name": "out_flow"}),
        ("add", "rule", {"chain": "input", "expr": [{"jump": {"target": "output"}}]}),
        (
            "add",
            "element",
            {
                "name": "out_guard4",
                "elem": [[{"concat": ["10.0.0.5", 6, 80]}, "appfwd_nobody_packet_t"]],
            },
        ),
    ],
)
def test_the_model_refuses_what_is_in_use_or_there_already(
    verb: str, kind: str, value: Json
) -> None:
    model = NftModel()
    _run(model, table_commands(Table(), _table(state_of("10.0.0.0/24"))))
    adopt = {"add": {"table": {"flags": ["owner", "persist"]}}}
    with pytest.raises(Refused):
        model.transaction([adopt, {verb: {kind: value}}])
