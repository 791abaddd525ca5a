"""docs/dbus.md says what the interface is: its members, options, keys, errors and examples."""

from __future__ import annotations

import os
import re
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable

import pytest

from appfwd.bus.members import (
    AGENT_SIGNALS,
    BUS_NAME,
    INTERFACE,
    METHODS,
    PATH,
    PROPERTIES,
    PROPERTY_ACTION,
    SIGNALS,
    Arguments,
    Method,
)
from appfwd.errors import AppfwdError, all_errors
from appfwd.manager import answers, changes, domains, parts, queries, rows, unlabelled
from appfwd.model.options import PAGE_AT_MOST
from tests.bus.peer import PATIENCE, Peer, manager_call
from tests.bus.records import deny, observe, refused
from tests.bus.running import Daemon
from tests.bus.samples import CALLS, prepare
from tests.bus.world import ROOT

TEXT = (ROOT / "docs/dbus.md").read_text("utf-8")
BY_METHOD = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
_PLACED = ("Revoke", "Unguard", "Explain")
OPTIONS: dict[str, Iterable[str]] = {
    **dict.fromkeys(_PLACED, parts.PLACE),
    **dict.fromkeys(("Up", "Down", "Confirm", "ForgetObserved", "Unfence"), ()),
    **dict.fromkeys(("Apply", "Export", "Plan"), ()),
    "Grant": {*parts.PLACE, *changes.ENDS},
    "Fence": {*parts.FENCE, *changes._FOR},
    "Guard": {*parts.PLACE, *changes._FOR},
    "SetBridge": {"strict", *changes._FOR},
    "SetBaseline": changes._FOR,
    "List": queries._LIST,
    "GetRules": parts.PAGE,
    "GetBaseline": {*parts.PLACE, *parts.PAGE},
    "ListTypes": parts.PAGE,
    "Who": {*parts.PLACE, *parts.PAGE},
    "ListObserved": {*unlabelled._CHOSEN, *parts.PAGE},
    "ListDomains": domains._RUNNING,
    "AcceptObserved": unlabelled._CHOSEN,
    "ListDenied": {*answers._CHOSEN, *parts.PAGE},
    "ListBlocked": {*answers._CHOSEN, *parts.PAGE},
    "ListPending": {"domain", *parts.PAGE},
    "Unblock": parts.PLACE,
    "Answer": {"scope", *changes.ENDS},
    **dict.fromkeys(("ForgetDenied", "RegisterAgent", "UnregisterAgent"), ()),
    "Preview": unlabelled._PREVIEW,
}


def _heading(level: int, title: str) -> str:
    """Return the text under a heading, up to the next of its level or above."""
    pattern = rf"^{'#' * level} {re.escape(title)}$(.*?)(?=^#{{1,{level}}} |\Z)"
    found = re.search(pattern, TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/dbus.md has no heading {title!r}"
    return found[1]


def _arguments(arguments: Arguments) -> str:
    return "(" + ", ".join(f"{kind} {name}" for name, kind in arguments) + ")"


def _title(method: Method) -> str:
    return f"`{method.name}{_arguments(method.takes)} → {_arguments(method.gives)}`"


def _table(section: str, first: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first column is titled so, by their first cell."""
    _, _, after = section.partition(f"| {first} |")
    assert after, f"no table of {first}"
    rows: dict[str, list[str]] = {}
    for line in after.splitlines()[2:]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0].strip("`")] = [cell.strip("`") for cell in cells[1:]]
    return rows


@BY_METHOD
def test_each_method_stands_there_with_its_arguments_and_its_action(method: Method) -> None:
    assert f"- Action: `{method.action}`\n" in _heading(3, _title(method))


def test_no_other_method_or_signal_stands_there() -> None:
    titles = set(re.findall(r"^### (.*)$", TEXT, re.MULTILINE))
    known = (*SIGNALS, *AGENT_SIGNALS)
    signals = {f"`{signal.name}{_arguments(signal.args)}`" for signal in known}
    assert titles == {_title(method) for method in METHODS} | signals


@BY_METHOD
def test_options_of_each_method_are_those_that_it_takes(method: Method) -> None:
    section = _heading(3, _title(method))
    _, _, rest = section.partition("- Options:")
    said = rest.partition("- Errors:")[0]
    words = set(re.findall(r"`([\w-]+)`", said)) & set().union(*OPTIONS.values())
    assert words == set(OPTIONS[method.name])
    assert ("none" in said) == (not words)


def test_options_are_known_for_each_method() -> None:
    assert set(OPTIONS) == {method.name for method in METHODS}


@BY_METHOD
def test_errors_of_each_method_exist(method: Method) -> None:
    _, _, said = _heading(3, _title(method)).partition("- Errors:")
    named = set(re.findall(r"`([A-Z]\w+)`", said.partition("\n\n")[0]))
    assert named <= {kind.name for kind in all_errors()}
    assert "InvalidOption" in named


@BY_METHOD
def test_each_method_has_an_example_that_busctl_takes(daemon: Daemon, method: Method) -> None:
    prepared = ("Confirm", "Unfence", "Answer", "Unblock")
    prepare(daemon, method.name if method.name in prepared else "")
    with daemon.peer() as root:
        root.call("Guard", "any:5432", {"direction": "in"})
    (line,) = re.findall(r"^busctl .*$", _heading(3, _title(method)), re.MULTILINE)
    command = shlex.split(line)
    assert command[1:6] == ["call", BUS_NAME, PATH, INTERFACE, method.name]
    assert command[6] == method.signature
    done = daemon.run(command)
    assert done.returncode == 0, done.stderr


def test_the_example_of_a_property_works(daemon: Daemon) -> None:
    (line,) = re.findall(r"^busctl get-property .*$", TEXT, re.MULTILINE)
    assert daemon.run(shlex.split(line)).stdout == "b true\n"


def test_properties_have_their_types() -> None:
    table = _table(_heading(2, "Properties"), "property")
    assert {name: cells[0] for name, cells in table.items()} == {p.name: p.kind for p in PROPERTIES}


def test_the_action_of_reading_properties_is_named() -> None:
    assert f"reading properties needs `{PROPERTY_ACTION}`" in TEXT.replace("\n", " ")


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_each_error_has_its_exit_status(kind: type[AppfwdError]) -> None:
    status, meaning = _table(_heading(2, "Errors"), "error")[kind.name]
    assert int(status) == kind.exit_status
    assert meaning


def test_no_other_error_stands_there() -> None:
    assert set(_table(_heading(2, "Errors"), "error")) == {kind.name for kind in all_errors()}


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("List", "key of a row"),
        ("Explain", "key of the explanation"),
        ("GetRules", "key of the rules"),
        ("Who", "key of a row"),
        ("GetBaseline", "key of the baseline"),
        ("ListTypes", "key of a row"),
        ("ListObserved", "key of a row"),
        ("ListDomains", "key of a row"),
        ("ListDenied", "key of a row"),
        ("ListPending", "key of a row"),
        ("ListBlocked", "key of a row"),
        ("Answer", "key of the answer"),
        ("Preview", "key of the preview"),
        ("Plan", "key of the plan"),
        ("Apply", "key of what was applied"),
    ],
)
def test_keys_and_types_of_results_are_those_of_the_live_bus(
    daemon: Daemon, root: Peer, name: str, column: str
) -> None:
    prepare(daemon, name)
    observe(daemon)
    (method,) = (m for m in METHODS if m.name == name)
    result = root.ask(manager_call(name, *CALLS[name]))[0]
    row = result[0] if isinstance(result, list) else result
    said = {key: cells[0] for key, cells in _table(_heading(3, _title(method)), column).items()}
    assert {key: value.signature for key, value in row.items()} == said


def test_rows_within_the_rules_have_the_keys_that_are_named(daemon: Daemon, root: Peer) -> None:
    prepare(daemon)
    (method,) = (m for m in METHODS if m.name == "GetRules")
    table = _table(_heading(3, _title(method)), "key of the rules")
    rules = root.call("GetRules", {})
    for key in ("labels", "elements", "counters"):
        named = {word for word in re.findall(r"`(\w+)`", table[key][1]) if len(word) > 2}
        assert named - {"aa"} == set(rules[key][0])


@pytest.mark.parametrize(
    ("name", "column", "key"),
    [
        ("GetBaseline", "key of the baseline", "rows"),
        ("Preview", "key of the preview", "loses"),
        ("Plan", "key of the plan", "members"),
        ("Plan", "key of the plan", "effects"),
        ("Plan", "key of the plan", "elements"),
        ("ListDomains", "key of a row", "connections"),
    ],
)
def test_rows_within_an_answer_have_the_keys_and_types_that_are_named(
    daemon: Daemon, root: Peer, name: str, column: str, key: str
) -> None:
    observe(daemon)
    (method,) = (m for m in METHODS if m.name == name)
    text = _table(_heading(3, _title(method)), column)[key][1]
    named = dict(re.findall(r"`(\w+)` \(`(\w+)`", text))
    answer = root.ask(manager_call(name, *CALLS[name]))[0]
    row = (answer[0] if isinstance(answer, list) else answer)[key].value[0]
    assert {word: value.signature for word, value in row.items()} == named


def test_the_longest_trial_is_right() -> None:
    assert f"from 1 to {changes.TRIAL_AT_MOST}, in seconds" in TEXT


@pytest.mark.parametrize("word", unlabelled._CHANGES)
def test_each_change_to_preview_is_named(word: str) -> None:
    (method,) = (m for m in METHODS if m.name == "Preview")
    assert f"`{word}`" in _heading(3, _title(method)).partition("- Action")[0]


def test_the_size_of_a_page_is_right() -> None:
    assert f"at most {PAGE_AT_MOST} rows" in TEXT
    assert f"from 1 to {PAGE_AT_MOST}" in TEXT


def test_the_bounds_of_a_domains_row_are_right() -> None:
    (method,) = (m for m in METHODS if m.name == "ListDomains")
    table = _table(_heading(3, _title(method)), "key of a row")
    each, one = domains.CONNECTIONS_OF_EACH, domains.CONNECTIONS_OF_ONE
    assert f"at most {each}, or {one} where" in table["connections"][1]
    assert f"at most {rows.PROGRAMS_AT_MOST}" in table["programs"][1]


def test_the_client_at_the_end_works(daemon: Daemon) -> None:
    _agent, code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = daemon.run([sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1:] == ["mozilla_t", "10.0.0.5:3128"]


def test_the_agent_of_the_example_asks_and_answers(daemon: Daemon) -> None:
    code, _client = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    prepare(daemon, "Answer")
    command = [sys.executable, "-u", "-c", code]
    agent = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=daemon.world.environment,
        cwd=ROOT,
    )
    try:
        _until(agent, "mozilla_t (probably 'curl') and 10.0.0.80:443/tcp: allow", "y")
        _until(agent, "mozilla_t (probably 'curl') and 10.0.0.81:8443/tcp: allow", "n")
        while not daemon.tell("agents"):
            time.sleep(0.01)
        deny(daemon, [refused("mozilla_t", "10.0.0.82", 443)])
        _until(agent, "mozilla_t (probably 'curl') and 10.0.0.82:443/tcp: allow", "y")
        _until(agent, "10.0.0.82:443/tcp", "")
    finally:
        agent.kill()
        agent.communicate()
    members = {place for domain, _, place, _ in daemon.state()["members"]}
    assert {"10.0.0.80:443/tcp", "10.0.0.82:443/tcp"} <= members
    assert "10.0.0.81:8443/tcp" not in members


def _until(agent: subprocess.Popen[bytes], said: str, answer: str) -> None:
    """Read until an agent has said something, and answer that."""
    assert agent.stdout is not None
    assert agent.stdin is not None
    heard = b""
    while said.encode() not in heard:
        assert select.select([agent.stdout], [], [], PATIENCE)[0], heard
        more = os.read(agent.stdout.fileno(), 4096)
        assert more, heard
        heard += more
    agent.stdin.write(f"{answer}\n".encode())
    agent.stdin.flush()
