"""Answers as text: columns for people, tabs for programs, nothing lost."""

from __future__ import annotations

from typing import Any

import pytest

from appfwd.cli.render import render, table

ROW = {
    "id": "7",
    "kind": "grant",
    "domain": "mozilla_t",
    "destination": "10.0.0.5:3128",
    "direction": "out",
    "created": 0.0,
    "uid": 0,
    "dormant": False,
}
RULES: dict[str, Any] = {
    "labels": [{"label": "a_t", "context": "u:r:a_t:s0", "send": ["x_t"], "recv": []}],
    "elements": [
        {
            "map": "out_guard4",
            "direction": "out",
            "peer": "10.0.0.5",
            "protocols": "tcp",
            "ports": "3128",
            "label": "a_t",
        }
    ],
    "total": 1,
    "counters": [{"map": "out_guard4", "packets": 3, "bytes": 180}],
}
EXPLAINED: dict[str, Any] = {
    "verdict": "denied",
    "why": "x_t may not send.",
    "remedy": "'appfwctl grant x_t 10.0.0.5'.",
    "labels": ["a_t"],
    "guards": ["10.0.0.0/8"],
    "grants": [],
    "enforcing": True,
}
STATUS = {
    "Active": True,
    "Bridge": "open",
    "Enforcing": True,
    "Problem": "",
    "Version": "9.9",
    "Warnings": ["The chain a of the nftables table ip b labels packets too."],
}


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.localtime", __import__("time").gmtime)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    lines = list(table([("a", "long cell"), ("wide one", "b")], ("X", "Y"), terminal=True))
    assert lines == ["X         Y", "a         long cell", "wide one  b"]


def test_programs_get_tabs_and_no_header() -> None:
    assert list(table([("a", "b"), ("c", "")], ("X", "Y"), terminal=False)) == ["a\tb", "c\t"]


def test_a_list_on_a_terminal_has_a_header() -> None:
    header, line = render("list", [ROW], terminal=True).splitlines()
    assert header.split() == ["ID", "KIND", "DOMAIN", "DIRECTION", "DESTINATION", "SINCE", "NOTE"]
    assert line.split() == [
        "7",
        "grant",
        "mozilla_t",
        "out",
        "10.0.0.5:3128",
        "1970-01-01",
        "00:00",
    ]


def test_a_list_for_programs_has_the_same_cells() -> None:
    assert render("list", [ROW], terminal=False).rstrip("\n").split("\t") == [
        "7",
        "grant",
        "mozilla_t",
        "out",
        "10.0.0.5:3128",
        "1970-01-01 00:00",
        "",
    ]


def test_a_dormant_grant_says_why() -> None:
    assert "the policy has no such domain" in render(
        "list", [{**ROW, "dormant": True}], terminal=True
    )


def test_a_guard_has_a_dash_for_its_domain() -> None:
    row = {**ROW, "kind": "guard", "domain": ""}
    assert render("list", [row], terminal=False).split("\t")[2] == "-"


@pytest.mark.parametrize(
    ("terminal", "text"), [(True, "nothing is guarded or granted\n"), (False, "")]
)
def test_an_empty_list_is_said_to_people_and_nothing_to_programs(terminal: bool, text: str) -> None:  # noqa: FBT001
    assert render("list", [], terminal=terminal) == text


@pytest.mark.parametrize("terminal", [True, False])
def test_rules_show_labels_elements_and_counters(terminal: bool) -> None:  # noqa: FBT001
    labels, elements, counters = render("rules", RULES, terminal=terminal).split("\n\n")
    assert labels.splitlines()[-1].split() == ["a_t", "x_t", "nobody"]
    assert elements.splitlines()[-1].split() == ["out_guard4", "10.0.0.5", "tcp", "3128", "a_t"]
    assert counters.splitlines()[-1].split() == ["out_guard4", "3", "180"]
    assert len(labels.splitlines()) == 1 + terminal


def test_a_label_with_many_users_names_four_of_them() -> None:
    label = {**RULES["labels"][0], "send": [f"d{n}_t" for n in range(9)]}
    said = render("rules", {**RULES, "labels": [label]}, terminal=True)
    assert "d0_t,d1_t,d2_t,d3_t and 5 more" in said


def test_no_rules_are_said_to_people() -> None:
    assert "no label is in use" in render("rules", {**RULES, "labels": []}, terminal=True)


def test_an_explanation_has_verdict_reason_guard_and_remedy() -> None:
    assert render("explain", EXPLAINED, terminal=True).splitlines() == [
        "denied: x_t may not send.",
        "guarded by: 10.0.0.0/8",
        "'appfwctl grant x_t 10.0.0.5'.",
    ]


def test_an_explanation_tells_that_a_permissive_kernel_lets_all_pass() -> None:
    said = render("explain", {**EXPLAINED, "enforcing": False, "grants": ["any"]}, terminal=True)
    assert said.startswith("denied (but SELinux is permissive, so all passes): ")
    assert "granted by: any\n" in said


def test_status_tells_version_mode_bridge_and_problem() -> None:
    assert render("status", STATUS, terminal=True).splitlines() == [
        "appfwd 9.9: in force",
        "SELinux: enforcing",
        "bridge: open",
        "warning: The chain a of the nftables table ip b labels packets too.",
    ]
    other = {
        **STATUS,
        "Active": False,
        "Enforcing": False,
        "Bridge": "closed",
        "Problem": "It is so.",
        "Warnings": [],
    }
    assert render("status", other, terminal=True).splitlines() == [
        "appfwd 9.9: down",
        "SELinux: permissive (nothing is refused)",
        "bridge: closed",
        "problem: It is so.",
    ]
