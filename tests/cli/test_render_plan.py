"""A plan as text: what differs, cut where it is long, with how much was left out."""

from __future__ import annotations

from typing import Any

from appfwd.cli.render import render
from tests.cli.test_whole import SAME


def _text(**more: Any) -> list[str]:
    return render("plan", {**SAME, **more}, terminal=True).splitlines()


def _member(number: int, **more: Any) -> dict[str, Any]:
    member = {"change": "add", "kind": "grant", "domain": f"d{number}_t", "direction": "out"}
    return {**member, "destination": "any:443", "spares": [], "ends": 0.0, "session": "", **more}


def test_nothing_is_told_as_nothing() -> None:
    assert _text() == ["nothing would change"]


def test_members_have_their_sign_end_and_exceptions() -> None:
    fence = _member(2, kind="fence", change="remove", direction="", destination="", spares=["dns"])
    rows = [_member(1, ends=float("inf"), change="end"), fence]
    assert _text(members=rows, members_total=2) == [
        "asked for:",
        "  ~ grant d1_t out any:443 (until the machine goes down)",
        "  - fence d2_t (spares dns)",
    ]


def test_long_parts_are_cut_and_say_by_how_much() -> None:
    lines = _text(members=[_member(number) for number in range(1000)], members_total=1234)
    assert len(lines) == 42
    assert lines[-1] == "  and 1194 more"
    lines = _text(policy=["+ (a)"] * 50, policy_total=60, policy_loads=2)
    assert (lines[0], lines[-1]) == ("policy, 2 loads:", "  and 20 more")


def test_effects_name_a_few_domains_and_places() -> None:
    effect = {
        "where": ["10.0.0.5:3128"],
        "where_total": 1,
        "gains": ["a_t"],
        "gains_total": 1,
        "loses": [f"d{n}_t" for n in range(9)],
        "loses_total": 300,
    }
    setting = {"setting": "bridge", "before": "open", "after": "closed"}
    assert _text(settings=[setting], effects=[effect], effects_total=3)[2:] == [
        "who gains and who loses:",
        "  + a_t reaches 10.0.0.5:3128",
        "  - d0_t, d1_t, d2_t, d3_t and 296 more lose 10.0.0.5:3128",
        "  and 2 more",
    ]


def test_the_table_says_how_many_commands_even_where_no_element_changes() -> None:
    assert _text(commands=["{}"], commands_total=1, transactions=1) == [
        "table, 1 command in 1 transaction"
    ]
    element = {"change": "add", "map": "out4", "peer": "10.0.0.5", "protocols": "tcp"}
    element |= {"ports": "3128", "label": "appfwd_1", "direction": "out"}
    more = {"elements": [element], "elements_total": 1, "transactions": 2}
    assert _text(commands=["{}"] * 2, commands_total=2, **more) == [
        "table, 2 commands in 2 transactions:",
        "  + out4 10.0.0.5 tcp 3128 -> appfwd_1",
    ]
