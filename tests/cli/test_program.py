"""appfwctl as a program against the daemon: what it prints, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import fields

import pytest

from appfwd import __version__
from appfwd.bus.members import PROPERTIES
from appfwd.model.request import Request
from tests.bus.daemon import NEXT
from tests.bus.peer import Peer
from tests.bus.records import observe
from tests.bus.running import Daemon
from tests.bus.running import daemon as running_daemon
from tests.bus.samples import ASKED, PLACE, prepare
from tests.bus.test_busctl import ENTRY
from tests.bus.world import world as running_world
from tests.cli.conftest import MODULE, Run
from tests.cli.surface import commands
from tests.cli.terminal import on_terminal


@pytest.fixture(scope="module")
def _daemon() -> Iterator[Daemon]:
    """Have a daemon with one library; what depends on it is in test_libraries.py."""
    with running_world() as world, running_daemon(world, NEXT) as made:
        yield made


def test_inbound_is_a_destination_of_its_own(run: Run, daemon: Daemon) -> None:
    assert run("guard", "--in", "any:5432").stdout.startswith(
        "guarded: nobody reaches any:5432 inb"
    )
    assert run("grant", "--in", "postgresql_t", "any:5432").returncode == 0
    assert {row[1] for row in daemon.state()["members"]} == {"in"}
    assert run("unguard", "any:5432").returncode == 4
    assert run("unguard", "any:5432", "--in").returncode == 0


#: Commands about denials, and the methods that they call.
ASKING = {
    "denied": "ListDenied",
    "pending": "ListPending",
    "answer": "Answer",
    "blocked": "ListBlocked",
    "unblock": "Unblock",
}
SEEN_KEYS = ("domain", "direction", "destination", "count", "first", "last")
PLAN = {
    *("members", "members_total", "settings", "effects", "effects_total", "policy", "policy_total"),
    "trials_over",
    *("policy_loads", "elements", "elements_total", "commands", "commands_total", "transactions"),
}
JSON = [
    (["guard", "10.0.0.9"], {"command", "result", "id"}),
    (["unguard", PLACE], {"command", "result"}),
    (["fence", "squid_t", "--yes"], {"command", "result", "id"}),
    (["unfence", "postgresql_t"], {"command", "result"}),
    (["grant", "squid_t", PLACE], {"command", "result", "id"}),
    (["grant", "squid_t", PLACE, "--boot"], {"command", "result", "id"}),
    (["revoke", "mozilla_t", PLACE], {"command", "result"}),
    (
        ["explain", "mozilla_t", PLACE],
        {
            *("verdict", "why", "remedy", "labels", "guards", "grants", "enforcing"),
            *("fenced", "spared", "differs"),
        },
    ),
    (["who", PLACE], {"domain", "verdict", "labels", "through"}),
    (["list"], set(ENTRY)),
    (["types", "mozilla_t"], {"source", "target", "permissions", "condition", "holds", "kind"}),
    (
        ["domains", "--domain", "mozilla_t"],
        {
            *("domain", "programs", "more_programs", "processes", "grants"),
            *("connections", "more_connections", "complete", "fenced"),
        },
    ),
    (["rules"], {"labels", "elements", "total", "counters"}),
    (["status"], {prop.name for prop in PROPERTIES}),
    (["baseline"], {"baseline"}),
    (["baseline", "on"], {"command", "result"}),
    (["baseline", "off", "--for", "1m"], {"command", "result", "until"}),
    (["baseline", "show"], {"enabled", "rows", "total", "report"}),
    (["bridge"], {"bridge", "strict"}),
    (["bridge", "open"], {"command", "result"}),
    (["bridge", "observe", "--for", "1m"], {"command", "result", "until"}),
    (["bridge", "close", "--yes"], {"command", "result"}),
    (["observed"], {*SEEN_KEYS, "label", "allowed", "granted", "loses", "remedy"}),
    (["observed", "--accept"], {"command", "result", "ids"}),
    (["observed", "--forget"], {"command", "result", "count"}),
    (["denied"], {*SEEN_KEYS, "cause", "blocked"}),
    (["denied", "--forget"], {"command", "result", "count"}),
    (["pending"], {one.name for one in fields(Request)}),
    (["answer", ASKED[:8], "allow"], {"command", "result", "id", "destination"}),
    (["answer", ASKED, "block", "--scope", "host"], {"command", "result", "id", "destination"}),
    (["blocked"], {"domain", "direction", "destination", "at", "uid"}),
    (["unblock", "mozilla_t", "10.0.0.80:443/tcp"], {"command", "result"}),
    (["confirm"], {"command", "result", "count"}),
    (["plan", "revoke", "mozilla_t", PLACE], PLAN),
    (["apply", "-"], {"command", "result", "added", "removed"}),
    (["apply", "--syntax", "-"], {"command", "result"}),
    (["export"], {"document"}),
    (["up"], {"command", "result"}),
    (["down", "--yes"], {"command", "result"}),
]


def test_every_command_is_among_those_tried_with_json() -> None:
    tried = {" ".join(arguments) for arguments, _ in JSON}
    for command in commands():
        if command.name == "watch":  # it does not end by itself: test_watch.py
            continue
        assert any(f"{one} ".startswith(f"{command.name} ") for one in tried), command.name


@pytest.mark.parametrize(("arguments", "keys"), JSON, ids=[" ".join(one) for one, _ in JSON])
def test_every_command_prints_json(
    run: Run, daemon: Daemon, root: Peer, arguments: list[str], keys: set[str]
) -> None:
    prepare(daemon, ASKING.get(arguments[0], ""))
    observe(daemon)
    root.call("Guard", "10.0.0.10", {"for": 3600})
    root.call("Fence", "postgresql_t", {})
    done = run(*arguments, "--json")
    assert done.returncode == 0
    assert not done.stderr or arguments[1] in ("on", "close", "-")  # they tell what is lost
    value = json.loads(done.stdout)
    rows = value if isinstance(value, list) else [value]
    assert rows
    assert all(set(row) == keys for row in rows)


def test_the_end_of_the_boot_is_null_in_json(run: Run) -> None:
    assert run("grant", "--boot", "mozilla_t", PLACE).returncode == 0
    (row,) = json.loads(run("--json", "list").stdout, parse_constant=pytest.fail)
    assert row["ends"] is None


def test_an_error_as_json_has_its_name_and_its_sentence(run: Run) -> None:
    done = run("--json", "grant", "mozila_t", PLACE)
    assert (done.returncode, done.stderr) == (3, "")
    value = json.loads(done.stdout)
    assert value["error"] == "org.appfwd1.Error.UnknownDomain"
    assert "mozilla_t" in value["message"]


def test_without_polkit_the_status_is_14_for_all_but_root(run: Run, daemon: Daemon) -> None:
    with daemon.world.without_polkit():
        done, roots = run("status", uid=65534), run("status")
    assert (done.returncode, "polkit does not answer" in done.stderr) == (14, True)
    assert roots.returncode == 0


def test_a_problem_turns_the_status(run: Run, daemon: Daemon, root: Peer) -> None:
    prepare(daemon)
    assert run("status").returncode == 0
    daemon.fail("list", "TableFailed", "nftables is gone.", times=2)
    with pytest.raises(Exception, match="nftables is gone"):
        root.call("Guard", "10.1.0.1", {})
    done = run("status")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "problem: nftables is gone."
    assert f"appfwd {__version__}: in force" in done.stdout


def test_bridge_is_shown_closed_and_opened(run: Run) -> None:
    assert run("bridge").stdout == "open\n"
    assert run("bridge", "close").stdout == "the bridge is closed\n"
    assert run("bridge").stdout == "closed\n"
    assert run("bridge", "close", "--strict").stdout == "the bridge is closed, strictly\n"
    assert run("bridge").stdout == "closed, strictly\n"
    assert run("bridge", "observe").stdout == "the bridge is observed\n"
    assert run("bridge").stdout == "observed\n"
    assert run("bridge", "open").stdout == "the bridge is open\n"


def test_list_on_a_terminal_is_a_table_and_tabs_in_a_pipe(run: Run, daemon: Daemon) -> None:
    prepare(daemon)
    status, shown, errors = on_terminal(daemon, "list")
    assert (status, errors) == (0, "")
    header, *rows = shown.splitlines()
    assert header.split()[:3] == ["ID", "KIND", "DOMAIN"]
    piped = run("list").stdout.splitlines()
    assert [row.split()[:5] for row in rows] == [line.split("\t")[:5] for line in piped]


@pytest.mark.parametrize("count", [1001])
def test_all_pages_of_a_list_are_fetched(run: Run, daemon: Daemon, count: int) -> None:
    places = [f"10.{number >> 8}.{number & 255}.1" for number in range(count)]
    daemon.tell("fill", guards=[], grants=[("squid_t", place) for place in places])
    assert len(run("list").stdout.splitlines()) == count
    assert len(run("list", "--domain", "mozilla_t").stdout.splitlines()) == 0


def test_all_pages_of_the_rules_are_fetched(run: Run, daemon: Daemon) -> None:
    places = [f"10.0.{number}.1:80" for number in range(201)]
    daemon.tell("fill", guards=places, grants=[])
    rules = json.loads(run("--json", "rules").stdout)
    assert len(rules["elements"]) == rules["total"] == 201 * 5


def test_list_filters_by_kind_and_domain(run: Run, daemon: Daemon) -> None:
    prepare(daemon)
    assert [line.split("\t")[1] for line in run("list", "--kind", "guard").stdout.splitlines()] == [
        "guard"
    ]
    (line,) = run("list", "--domain", "mozilla_t").stdout.splitlines()
    assert line.split("\t")[2] == "mozilla_t"


@pytest.mark.parametrize("answer", ["y\n", "YES\n", "yes\n"])
def test_down_goes_down_on_a_yes(daemon: Daemon, answer: str) -> None:
    status, shown, errors = on_terminal(daemon, "down", answer=answer)
    assert status == 0
    assert "This lifts every guard. Go on? [y/N]" in errors
    assert "down: nothing of appfwd is in the kernel" in shown
    assert daemon.state()["settings"] == ["open", False]


@pytest.mark.parametrize("answer", ["n\n", "\n", "x\n", "\x04"], ids=["n", "enter", "x", "end"])
def test_down_does_nothing_on_anything_else(daemon: Daemon, answer: str) -> None:
    with daemon.unchanged():
        status, _, errors = on_terminal(daemon, "down", answer=answer)
    assert status == 1
    assert "Nothing was done. 'appfwctl down --yes' does it without asking." in errors


def test_down_without_a_terminal_does_not_ask_and_does_nothing(run: Run, daemon: Daemon) -> None:
    with daemon.unchanged():
        done = run("down", stdin=None, input="y\n")
    assert done.returncode == 1
    assert done.stderr.startswith("appfwctl: Nothing was done.")


def test_down_yes_asks_nobody_and_up_undoes_it(run: Run, daemon: Daemon) -> None:
    prepare(daemon)
    before = daemon.state()
    done = run("down", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.state()["table"] == []
    assert run("up").returncode == 0
    assert daemon.state() == before


def test_a_reader_that_goes_away_is_no_error(daemon: Daemon) -> None:
    places = [f"10.0.{number}.1" for number in range(200)]
    daemon.tell("fill", guards=places, grants=[])
    ours, theirs = os.pipe()
    os.close(ours)
    process = subprocess.run(
        daemon.program(MODULE, "list"),
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=daemon.world.environment,
        check=False,
        text=True,
    )
    os.close(theirs)
    assert (process.returncode, process.stderr) == (1, "")
