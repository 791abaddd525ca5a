"""Answers as text: columns for people, tabs for programs, nothing lost."""

from __future__ import annotations

from typing import Any

import pytest

from appfwd.cli.render import render, table
from tests.cli.cells import cells

ROW = {
    "id": "7",
    "kind": "grant",
    "domain": "mozilla_t",
    "destination": "10.0.0.5:3128",
    "direction": "out",
    "created": 1.0,
    "uid": 0,
    "dormant": False,
    "spares": [],
    "ends": 0.0,
    "session": "",
    "ended": False,
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
    "fenced": False,
    "spared": [],
    "differs": "",
    "enforcing": True,
}
STATUS = {
    "Active": True,
    "Baseline": False,
    "Bridge": "open",
    "Deadline": 0.0,
    "Enforcing": True,
    "Problem": "",
    "Strict": False,
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


def test_a_list_for_programs_has_the_samecells() -> None:
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


NOTES: dict[str, tuple[dict[str, Any], str]] = {
    "an end": ({"ends": 90.0}, "until 1970-01-01 00:01"),
    "the boot": ({"ends": float("inf")}, "until the machine goes down"),
    "a session": ({"ends": float("inf"), "session": "3"}, "until session 3 ends"),
    "it is over": ({"ends": 90.0, "ended": True}, "ended 1970-01-01 00:01"),
    "a fence": ({"kind": "fence", "spares": ["loopback", "dns"]}, "spares loopback and dns"),
    "two notes": (
        {"ends": 90.0, "dormant": True},
        "dormant: the policy has no such domain; until 1970-01-01 00:01",
    ),
}


@pytest.mark.parametrize(("keys", "note"), NOTES.values(), ids=NOTES)
def test_a_note_tells_what_the_columns_do_not(keys: dict[str, Any], note: str) -> None:
    assert render("list", [{**ROW, **keys}], terminal=False).rstrip("\n").split("\t")[-1] == note


def test_a_fence_has_dashes_for_its_place() -> None:
    row = {**ROW, "kind": "fence", "destination": "", "direction": ""}
    assert render("list", [row], terminal=False).split("\t")[3:5] == ["-", "-"]


def test_an_explanation_tells_of_a_fence_and_of_a_kernel_that_differs() -> None:
    value = {**EXPLAINED, "fenced": True, "spared": ["[::1]"], "differs": "Not as asked."}
    lines = render("explain", value, terminal=True).splitlines()
    assert lines[-3:-1] == [
        "fenced: what it is not granted is refused, but for [::1]",
        "Not as asked.",
    ]
    (whole,) = [
        x
        for x in render("explain", {**value, "spared": []}, terminal=True).splitlines()
        if "fence" in x
    ]
    assert whole == "fenced: what it is not granted is refused"


@pytest.mark.parametrize(
    ("terminal", "text"), [(True, "nothing is guarded, granted or fenced\n"), (False, "")]
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
        "baseline: off",
        "bridge: open",
        "warning: The chain a of the nftables table ip b labels packets too.",
    ]
    other = {
        **STATUS,
        "Active": False,
        "Baseline": True,
        "Enforcing": False,
        "Bridge": "closed",
        "Deadline": 61.0,
        "Strict": True,
        "Problem": "It is so.",
        "Warnings": [],
    }
    assert render("status", other, terminal=True).splitlines() == [
        "appfwd 9.9: down",
        "SELinux: permissive (nothing is refused)",
        "baseline: on",
        "bridge: closed, strictly",
        "on trial: goes back at 1970-01-01 00:01:01, unless you confirm with 'appfwctl confirm'",
        "problem: It is so.",
    ]


OBSERVED: dict[str, Any] = {
    "domain": "mozilla_t",
    "direction": "out",
    "destination": "10.0.0.5:3128/tcp",
    "count": 3,
    "first": 0.0,
    "last": 60.0,
    "label": "http_client_packet_t",
    "allowed": False,
    "granted": False,
    "loses": True,
    "remedy": "'appfwctl grant mozilla_t 10.0.0.5:3128/tcp'",
}


def test_what_was_observed_has_its_fate_its_label_and_its_remedy() -> None:
    assert cells("observed", OBSERVED) == [
        [
            *("mozilla_t", "out", "10.0.0.5:3128/tcp", "3", "1970-01-01 00:00", "1970-01-01 00:01"),
            *("lost", "http_client_packet_t", "'appfwctl grant mozilla_t 10.0.0.5:3128/tcp'"),
        ]
    ]


@pytest.mark.parametrize(
    ("more", "fate"),
    [
        ({"loses": True}, "lost"),
        ({"loses": True, "allowed": True}, "lost"),
        ({"loses": False, "granted": True}, "granted"),
        ({"loses": False, "granted": True, "allowed": True}, "granted"),
        ({"loses": False, "allowed": True}, "passes"),
        ({"loses": False}, "passes"),
    ],
)
def test_the_fate_of_what_was_observed_is_one_word(more: dict[str, Any], fate: str) -> None:
    ((*_, said, _label, _remedy),) = cells("observed", {**OBSERVED, **more})
    assert said == fate


def test_what_has_no_label_has_a_dash() -> None:
    assert cells("observed", {**OBSERVED, "label": ""})[0][7] == "-"


PORT: dict[str, Any] = {
    "direction": "out",
    "protocol": "tcp",
    "ports": "80",
    "port_type": "http_port_t",
    "packet_type": "http_client_packet_t",
    "default": False,
}
OTHER = {
    "direction": "in",
    "protocol": "any",
    "ports": "0-65535",
    "port_type": "",
    "packet_type": "server_packet_t",
    "default": True,
}
PORTS: dict[str, Any] = {"enabled": True, "rows": [PORT, OTHER], "total": 2, "report": []}


def test_labels_of_ports_are_a_table_which_tells_defaults() -> None:
    header, web, other = render("labels", PORTS, terminal=True).splitlines()
    assert header.split() == ["PROTOCOL", "PORT", "DIRECTION", "LABEL", "PORT-TYPE", "NOTE"]
    assert web.split() == ["tcp", "80", "out", "http_client_packet_t", "http_port_t"]
    assert other.split(maxsplit=5) == [
        *("any", "0-65535", "in", "server_packet_t", "-", "the policy's default")
    ]


def test_labels_of_ports_for_programs_are_cells_alone() -> None:
    assert render("labels", {**PORTS, "enabled": False}, terminal=False).splitlines() == [
        "tcp\t80\tout\thttp_client_packet_t\thttp_port_t\t",
        "any\t0-65535\tin\tserver_packet_t\t-\tthe policy's default",
    ]


def test_people_are_told_that_a_baseline_is_off() -> None:
    first, *rest = render("labels", {**PORTS, "enabled": False}, terminal=True).splitlines()
    assert "The baseline is off" in first
    assert rest == render("labels", PORTS, terminal=True).splitlines()


@pytest.mark.parametrize("terminal", [True, False])
def test_what_the_policy_lacks_stands_below(terminal: bool) -> None:  # noqa: FBT001
    report = {"report": ["It lacks x.", "It lacks y."]}
    said = render("labels", {**PORTS, **report}, terminal=terminal)
    assert said.split("\n\n")[1] == "It lacks x.\nIt lacks y.\n"
    nothing = render("labels", {**PORTS, **report, "rows": []}, terminal=terminal)
    assert nothing == "It lacks x.\nIt lacks y.\n"


RULE: dict[str, Any] = {
    "source": "mozilla_t",
    "target": "http_client_packet_t",
    "permissions": ["recv", "send"],
    "condition": "",
    "holds": True,
    "kind": "policy",
}


def test_rules_of_the_policy_have_their_condition_and_whether_it_holds() -> None:
    hanging = {**RULE, "condition": "mozilla_can_net", "holds": False}
    plain = ["mozilla_t", "http_client_packet_t", "recv,send", "policy"]
    assert cells("types", RULE, hanging) == [
        [*plain, "yes", "-"],
        [*plain, "no", "mozilla_can_net"],
    ]


def test_who_reaches_a_place_is_told_with_the_way() -> None:
    row = {"domain": "a_t", "verdict": "partly", "labels": ["x_t", "y_t"], "through": "granted any"}
    assert cells("who", row) == [["a_t", "partly", "granted any", "x_t,y_t"]]


EMPTY = {
    "domains": "nothing runs there\n",
    "who": "no domain reaches it\n",
    "types": "the policy lets it do nothing with packets\n",
    "observed": "nothing was observed; 'appfwctl bridge observe' records what has no label\n",
}


@pytest.mark.parametrize(("kind", "said"), EMPTY.items())
def test_nothing_is_said_to_people_and_left_out_for_programs(kind: str, said: str) -> None:
    assert render(kind, [], terminal=True) == said
    assert render(kind, [], terminal=False) == ""


def test_what_was_done_says_when_it_goes_back() -> None:
    value = {"command": "guard", "result": "guarded"}
    assert render("done", value, terminal=True) == "guarded\n"
    assert render("done", {**value, "until": 61.0}, terminal=True).splitlines() == [
        "guarded",
        "it goes back at 1970-01-01 00:01:01, unless you confirm with 'appfwctl confirm'",
    ]
    assert render("done", {**value, "until": None}, terminal=True).splitlines() == [
        "guarded",
        "nothing goes back: it was so before",
    ]
