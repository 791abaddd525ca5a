"""Commands of the way from an open bridge to a closed one: what they ask, and what they say.

The daemon is a stand-in here; test_program.py has the real one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from appfwd.errors import NotFound
from appfwd.model.options import PAGE_AT_MOST
from tests.cli.standin import STATUS, StandIn


def _observed(number: int) -> dict[str, Any]:
    return {
        "domain": f"d{number}_t",
        "direction": "out",
        "destination": "10.0.0.5:3128/tcp",
        "count": 3,
        "first": 0.0,
        "last": 60.0,
        "label": "",
        "allowed": False,
        "granted": False,
        "loses": True,
        "remedy": "Grant it.",
    }


def _rule(number: int) -> dict[str, Any]:
    return {
        "source": f"d{number}_t",
        "target": "http_client_packet_t",
        "permissions": ["send", "recv"],
        "condition": "",
        "holds": True,
        "kind": "policy",
    }


def _reacher(number: int) -> dict[str, Any]:
    return {"domain": f"d{number}_t", "verdict": "allowed", "labels": ["a_t"], "through": "It may."}


def _port(number: int) -> dict[str, Any]:
    return {
        "direction": "out",
        "protocol": "tcp",
        "ports": str(number),
        "port_type": "http_port_t",
        "packet_type": "http_client_packet_t",
        "default": False,
    }


def _running(number: int) -> dict[str, Any]:
    return {
        "domain": f"d{number}_t",
        "programs": ["/usr/bin/curl"],
        "more_programs": 0,
        "processes": 1,
        "grants": 0,
        "connections": [],
        "more_connections": 0,
        "complete": True,
        "fenced": False,
    }


LISTS: dict[str, tuple[list[str], str, list[Any], Callable[[int], Any]]] = {
    "observed": (["observed"], "ListObserved", [], _observed),
    "types": (["types", "mozilla_t"], "ListTypes", ["mozilla_t"], _rule),
    "who": (["who", "any:80"], "Who", ["any:80"], _reacher),
    "domains": (["domains"], "ListDomains", [], _running),
}


@pytest.mark.parametrize(("arguments", "member", "asked", "row"), LISTS.values(), ids=LISTS)
def test_all_pages_are_fetched(
    standin: StandIn, arguments: list[str], member: str, asked: list[Any], row: Callable[[int], Any]
) -> None:
    rows = [row(number) for number in range(PAGE_AT_MOST + 2)]
    pages = [(member, rows[:PAGE_AT_MOST]), (member, rows[PAGE_AT_MOST:])]
    done = standin.run("--json", *arguments, script=pages)
    assert json.loads(done.stdout) == rows
    assert standin.asked == [(member, *asked, {"offset": n}) for n in (0, PAGE_AT_MOST)]


@pytest.mark.parametrize(("arguments", "member", "_asked", "row"), LISTS.values(), ids=LISTS)
def test_in_a_pipe_each_row_is_a_line_of_cells(
    standin: StandIn,
    arguments: list[str],
    member: str,
    _asked: list[Any],
    row: Callable[[int], Any],
) -> None:
    done = standin.run(*arguments, script=[(member, [row(1), row(2)])])
    first, second = (line.split("\t") for line in done.stdout.splitlines())
    assert (first[0], second[0]) == ("d1_t", "d2_t")
    assert len(first) == len(second)


def test_all_pages_of_the_baseline_are_fetched(standin: StandIn) -> None:
    rows = [_port(number) for number in range(PAGE_AT_MOST + 2)]
    whole = {"enabled": True, "total": len(rows), "report": ["It lacks x."]}
    parts = (rows[:PAGE_AT_MOST], rows[PAGE_AT_MOST:])
    pages = [("GetBaseline", {**whole, "rows": part}) for part in parts]
    done = standin.run("--json", "baseline", "show", script=pages)
    assert json.loads(done.stdout) == {**whole, "rows": rows}
    assert standin.asked == [("GetBaseline", {}), ("GetBaseline", {"offset": PAGE_AT_MOST})]


def test_a_baseline_that_shrinks_under_the_reading_ends_it(standin: StandIn) -> None:
    first = {"enabled": True, "total": 2, "report": [], "rows": [_port(80)]}
    script = [("GetBaseline", first), ("GetBaseline", {**first, "total": 1, "rows": []})]
    done = standin.run("baseline", "show", script=script)
    assert done.stdout == "tcp\t80\tout\thttp_client_packet_t\thttp_port_t\t\n"


ASKED: dict[str, tuple[list[str], str, object, tuple[Any, ...]]] = {
    "observed of a domain": (
        ["observed", "--domain", "a_t"],
        "ListObserved",
        [],
        ({"domain": "a_t", "offset": 0},),
    ),
    "one domain": (
        ["domains", "--domain", "a_t"],
        "ListDomains",
        [],
        ({"domain": "a_t", "offset": 0},),
    ),
    "observed with baseline": (
        ["observed", "--with-baseline"],
        "ListObserved",
        [],
        ({"baseline": True, "offset": 0},),
    ),
    "accept": (["observed", "--accept"], "AcceptObserved", [], ({},)),
    "accept some": (
        ["observed", "--accept", "--with-baseline", "--domain", "a_t"],
        "AcceptObserved",
        ["7"],
        ({"domain": "a_t", "baseline": True},),
    ),
    "forget": (["observed", "--forget"], "ForgetObserved", 5, ({},)),
    "confirm": (["confirm"], "Confirm", 1, ({},)),
    "who inbound": (
        ["who", "--in", "any:22"],
        "Who",
        [],
        ("any:22", {"direction": "in", "offset": 0}),
    ),
    "grant for a time": (
        ["grant", "--for", "7d", "a_t", "any:443"],
        "Grant",
        "7",
        ("a_t", "any:443", {"for": 604_800}),
    ),
    "grant until a day": (
        ["grant", "--until", "2100-01-01", "a_t", "any:443"],
        "Grant",
        "7",
        ("a_t", "any:443", {"until": time.mktime((2100, 1, 1, 0, 0, 0, 0, 0, -1))}),
    ),
    "grant for the boot": (
        ["grant", "--boot", "--in", "a_t", "any:443"],
        "Grant",
        "7",
        ("a_t", "any:443", {"direction": "in", "boot": True}),
    ),
    "unfence": (["unfence", "a_t"], "Unfence", None, ("a_t", {})),
}


@pytest.mark.parametrize(("arguments", "member", "value", "asked"), ASKED.values(), ids=ASKED)
def test_options_of_the_command_line_are_those_of_the_call(
    standin: StandIn, arguments: list[str], member: str, value: object, asked: tuple[Any, ...]
) -> None:
    assert standin.run(*arguments, script=[(member, value)]).returncode == 0
    assert standin.asked == [(member, *asked)]


def test_accepting_tells_the_grants(standin: StandIn) -> None:
    script = [("AcceptObserved", ["7", "8"])]
    assert standin.run("observed", "--accept", script=script).stdout == (
        "granted: 2 of what was observed\n"
    )
    value = json.loads(standin.run("--json", "observed", "--accept", script=script).stdout)
    assert value["ids"] == ["7", "8"]


def test_forgetting_tells_how_much(standin: StandIn) -> None:
    script = [("ForgetObserved", 12)]
    assert standin.run("observed", "--forget", script=script).stdout == "forgotten: 12 observed\n"


@pytest.mark.parametrize(
    ("count", "said"), [(1, "confirmed: 1 change stays\n"), (2, "confirmed: 2 changes stay\n")]
)
def test_confirming_tells_how_many_changes_stay(standin: StandIn, count: int, said: str) -> None:
    assert standin.run("confirm", script=[("Confirm", count)]).stdout == said


def test_nothing_to_confirm_is_status_4(standin: StandIn) -> None:
    done = standin.run("confirm", script=[("Confirm", NotFound("Nothing waits."))])
    assert (done.returncode, done.stderr) == (4, "appfwctl: Nothing waits.\n")


@pytest.mark.parametrize("more", [["--domain", "a_t"], ["--with-baseline"]], ids=" ".join)
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_forgetting_takes_no_filter_since_it_forgets_all(
    standin: StandIn, more: list[str], form: list[str]
) -> None:
    done = standin.run("observed", "--forget", *more, *form)
    assert done.returncode == 2
    said = json.loads(done.stdout)["message"] if form else done.stderr
    assert "forgets everything" in said


@pytest.mark.parametrize(
    ("state", "baseline", "bridge"),
    [
        ({}, "off\n", "observed\n"),
        ({"Baseline": True, "Bridge": "closed", "Strict": True}, "on\n", "closed, strictly\n"),
    ],
)
def test_without_a_mode_what_is_so_is_shown(
    standin: StandIn, state: dict[str, Any], baseline: str, bridge: str
) -> None:
    script = [("GetAll", {**STATUS, **state})]
    assert standin.run("baseline", script=script).stdout == baseline
    assert standin.run("bridge", script=script).stdout == bridge
