"""Other tables that undo our labels are found; those that cannot are left in peace."""

from __future__ import annotations

from typing import Any

import pytest

from appfwd.core.rivals import Rival, rivals

SET = {"mangle": {"key": {"meta": {"key": "secmark"}}, "value": {"ct": {"key": "secmark"}}}}
OBJECT = {"secmark": "ssh_server"}
KEPT_BIT = {"mangle": {"key": {"ct": {"key": "label"}}, "value": 126}}
WORD = {"mangle": {"key": {"ct": {"key": "secmark"}}, "value": {"meta": {"key": "secmark"}}}}
OTHER_BIT = {"mangle": {"key": {"ct": {"key": "label"}}, "value": 3}}
XT = {"xt": {"type": "target", "name": "SECMARK"}}
COUNT = {"counter": {"packets": 0, "bytes": 0}}
MARK = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}}
THERE = Rival("ip", "other", "c")


def ruleset(
    *exprs: dict[str, Any], hook: str | None = "output", priority: int = 0, table: str = "other"
) -> list[dict[str, Any]]:
    """Return the listing of a table with one chain of one rule."""
    family = "inet" if table == "appfwd" else "ip"
    chain: dict[str, Any] = {"family": family, "table": table, "name": "c"}
    if hook is not None:
        chain |= {"type": "filter", "hook": hook, "prio": priority, "policy": "accept"}
    where = {"family": family, "table": table, "chain": "c"}
    rule = {"rule": {**where, "handle": 2, "expr": list(exprs)}}
    return [{"metainfo": {}}, {"table": {"family": family, "name": table}}, {"chain": chain}, rule]


@pytest.mark.parametrize("expr", [SET, OBJECT, KEPT_BIT, WORD, XT])
def test_every_way_to_set_a_label_is_seen(expr: dict[str, Any]) -> None:
    assert rivals(ruleset(COUNT, expr)) == (THERE,)


@pytest.mark.parametrize("expr", [COUNT, MARK, OTHER_BIT])
def test_other_statements_are_no_rivals(expr: dict[str, Any]) -> None:
    assert rivals(ruleset(expr)) == ()


@pytest.mark.parametrize(
    ("hook", "priority", "found"),
    [
        *[("output", -99, True), ("output", 0, True), ("output", -100, False)],
        *[("input", -150, True), ("input", -151, False), ("prerouting", 0, False)],
        *[("postrouting", 100, True), ("postrouting", 226, False), ("forward", 0, False)],
        (None, 0, True),
    ],
)
def test_only_what_comes_after_ours_counts(hook: str | None, priority: int, found: bool) -> None:  # noqa: FBT001
    assert bool(rivals(ruleset(SET, hook=hook, priority=priority))) is found


@pytest.mark.parametrize(
    "expr", [WORD, KEPT_BIT, {"xt": {"type": "target", "name": "CONNSECMARK"}}]
)
@pytest.mark.parametrize("where", [("prerouting", -300), ("output", -150), ("forward", 0)])
def test_what_is_kept_with_connections_is_nobody_elses_anywhere(
    expr: dict[str, Any], where: tuple[str, int]
) -> None:
    """Or a flow would be as sure of its direction as others say (appfwd.core.expressions.SURE)."""
    hook, priority = where
    assert rivals(ruleset(COUNT, expr, hook=hook, priority=priority)) == (THERE,)


def test_our_own_table_is_none() -> None:
    assert rivals(ruleset(SET, table="appfwd")) == ()
