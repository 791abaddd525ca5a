"""Every member as documented, through a program that is not ours: busctl."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest

from appfwd import __version__
from appfwd.bus.members import BUS_NAME, INTERFACE, METHODS, PATH, PROPERTIES, SIGNALS
from tests.bus.running import Daemon
from tests.bus.world import ROOT

WHERE = (BUS_NAME, PATH, INTERFACE)
PROXY = "10.0.0.5:3128"
ENTRY = {
    "id": str,
    "kind": str,
    "domain": str,
    "destination": str,
    "direction": str,
    "created": float,
    "uid": int,
    "dormant": bool,
    "spares": list,
    "ends": float,
    "session": str,
    "ended": bool,
}


class Busctl:
    """busctl beside a daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def __call__(self, *arguments: str) -> Any:
        """Run busctl; return the data of its answer with the variants' types taken off."""
        done = self.daemon.run(["busctl", "--system", "--json=short", *arguments])
        assert done.returncode == 0, done.stderr
        return _bare(json.loads(done.stdout)["data"]) if done.stdout else None

    def method(self, name: str, *arguments: str) -> Any:
        """Call a method by its signature in the table."""
        (signature,) = (method.signature for method in METHODS if method.name == name)
        answer = self("call", *WHERE, name, signature, *arguments)
        return answer[0] if answer else None


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"type", "data"}:
            return _bare(value["data"])
        return {key: _bare(part) for key, part in value.items()}
    return [_bare(part) for part in value] if isinstance(value, list) else value


@pytest.fixture
def busctl(daemon: Daemon) -> Busctl:
    return Busctl(daemon)


def _members(daemon: Daemon) -> list[list[Any]]:
    found: list[list[Any]] = daemon.state()["members"]
    return found


def test_the_readmes_example_grants(daemon: Daemon) -> None:
    (line,) = re.findall(r"^ *(busctl .*)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    done = daemon.run(shlex.split(line))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r's "[0-9]+"\n', done.stdout)
    assert _members(daemon) == [["mozilla_t", "out", PROXY, 0]]


def test_guard_and_grant_give_the_ids_that_list_shows(busctl: Busctl) -> None:
    ids = [busctl.method("Guard", PROXY, "0"), busctl.method("Grant", "mozilla_t", PROXY, "0")]
    rows = busctl.method("List", "0")
    assert [row["id"] for row in rows] == ids
    assert [row["kind"] for row in rows] == ["guard", "grant"]
    for row in rows:
        assert {key: type(value) for key, value in row.items()} == ENTRY
        assert row["destination"] == PROXY
        assert row["uid"] == 0


def test_granting_again_gives_the_same_id_and_one_row(busctl: Busctl) -> None:
    first = busctl.method("Grant", "mozilla_t", PROXY, "0")
    assert busctl.method("Grant", "mozilla_t", PROXY, "0") == first
    assert len(busctl.method("List", "0")) == 1


def test_an_alias_is_granted_and_revoked_as_the_domain_that_it_means(
    busctl: Busctl, daemon: Daemon
) -> None:
    busctl.method("Grant", "firefox_t", PROXY, "0")
    assert _members(daemon) == [["mozilla_t", "out", PROXY, 0]]
    busctl.method("Revoke", "firefox_t", PROXY, "0")
    assert _members(daemon) == []


def test_revoke_and_unguard_take_away_what_there_was(busctl: Busctl, daemon: Daemon) -> None:
    daemon.tell("fill", guards=[PROXY], grants=[("mozilla_t", PROXY)])
    assert busctl.method("Revoke", "mozilla_t", PROXY, "0") is None
    assert busctl.method("Unguard", PROXY, "0") is None
    assert _members(daemon) == []


def test_direction_is_an_option_of_every_change(busctl: Busctl, daemon: Daemon) -> None:
    inbound = ("1", "direction", "s", "in")
    busctl.method("Guard", "any:5432", *inbound)
    busctl.method("Grant", "postgresql_t", "any:5432", *inbound)
    assert {row[1] for row in _members(daemon)} == {"in"}
    assert busctl.method("Explain", "squid_t", "any:5432", *inbound)["verdict"] == "denied"
    busctl.method("Revoke", "postgresql_t", "any:5432", *inbound)
    busctl.method("Unguard", "any:5432", *inbound)
    assert _members(daemon) == []


@pytest.mark.parametrize(("domain", "verdict"), [("mozilla_t", "allowed"), ("squid_t", "denied")])
def test_explain_tells_who_reaches_a_guarded_destination(
    busctl: Busctl, daemon: Daemon, domain: str, verdict: str
) -> None:
    daemon.tell("fill", guards=[PROXY], grants=[("mozilla_t", PROXY)])
    answer = busctl.method("Explain", domain, PROXY, "0")
    assert {key: type(value) for key, value in answer.items()} == {
        "verdict": str,
        "why": str,
        "remedy": str,
        "labels": list,
        "guards": list,
        "grants": list,
        "fenced": bool,
        "spared": list,
        "differs": str,
        "enforcing": bool,
    }
    assert answer["verdict"] == verdict
    assert answer["guards"] == [PROXY]
    assert answer["grants"] == ([PROXY] if domain == "mozilla_t" else [])
    assert answer["enforcing"] is True
    assert PROXY in answer["remedy"]


def test_get_rules_shows_labels_elements_and_counters(busctl: Busctl, daemon: Daemon) -> None:
    daemon.tell("fill", guards=[f"{PROXY}/tcp"], grants=[("mozilla_t", f"{PROXY}/tcp")])
    rules = busctl.method("GetRules", "0")
    assert set(rules) == {"labels", "elements", "total", "counters"}
    (element,) = rules["elements"]
    assert rules["total"] == 1
    assert (element["peer"], element["protocols"], element["ports"]) == ("10.0.0.5", "tcp", "3128")
    (label,) = (row for row in rules["labels"] if row["label"] == element["label"])
    assert label["send"] == label["recv"] == ["mozilla_t"]
    assert {row["map"] for row in rules["counters"]} == {element["map"]}
    assert all(set(row) == {"map", "packets", "bytes"} for row in rules["counters"])


def test_bridge_closes_and_opens(busctl: Busctl) -> None:
    for mode in ("observed", "closed", "open"):
        busctl.method("SetBridge", mode, "0")
        assert busctl("get-property", *WHERE, "Bridge") == mode


def test_down_empties_the_kernel_and_up_brings_the_same_back(
    busctl: Busctl, daemon: Daemon
) -> None:
    daemon.tell("fill", guards=[PROXY], grants=[("mozilla_t", PROXY)])
    before = daemon.state()
    busctl.method("Down", "0")
    state = daemon.state()
    assert (state["table"], state["module"]) == ([], "")
    assert state["members"] == before["members"]
    assert busctl("get-property", *WHERE, "Active") is False
    busctl.method("Up", "0")
    assert daemon.state() == before


def test_each_property_has_its_type_and_value(busctl: Busctl, daemon: Daemon) -> None:
    wanted = {
        "Active": True,
        "Baseline": False,
        "Bridge": "open",
        "Deadline": 0,
        "Enforcing": True,
        "Problem": "",
        "Strict": False,
        "Version": __version__,
        "Warnings": [],
    }
    assert set(wanted) == {prop.name for prop in PROPERTIES}
    for name, value in wanted.items():
        assert busctl("get-property", *WHERE, name) == value
    daemon.tell("enforcing", value=False)
    assert busctl("get-property", *WHERE, "Enforcing") is False


def test_introspect_lists_every_member(daemon: Daemon) -> None:
    listed = daemon.run(["busctl", "--system", "introspect", *WHERE]).stdout
    names = {line.split()[0].removeprefix(".") for line in listed.splitlines()}
    for members in (METHODS, SIGNALS, PROPERTIES):
        assert names >= {member.name for member in members}


def test_tree_leads_to_the_object(daemon: Daemon) -> None:
    assert PATH in daemon.run(["busctl", "--system", "tree", BUS_NAME]).stdout


def test_a_refusal_is_shown_with_its_sentence(daemon: Daemon) -> None:
    command = ["busctl", "--system", "call", *WHERE, "Grant", "ssa{sv}", "mozila_t", PROXY, "0"]
    done = daemon.run(command)
    assert done.returncode != 0
    assert "no domain 'mozila_t'. Near names: mozilla_t." in done.stderr
