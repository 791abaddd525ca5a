"""The manual page: complete, and free of what the formatter warns of."""

from __future__ import annotations

import os
import re
import shlex
import subprocess

import pytest

from appfwd import __version__
from appfwd.cli.commands import VERDICTS
from appfwd.cli.whole import DIFFERS
from appfwd.errors import all_errors
from tests.bus.world import ROOT
from tests.cli.surface import Command, commands, general_options

PAGE = ROOT / "docs/appfwctl.8"
SOURCE = re.sub(r"\\f[IRB]", " ", PAGE.read_text("ascii").replace("\\-", "-"))
ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
BY_COMMAND = pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)


def _section(title: str) -> str:
    found = re.search(rf"^\.SH {title}\n(.*?)(?=^\.SH |\Z)", SOURCE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def _entries() -> dict[str, str]:
    """Return what stands beside the name of each command, by that name."""
    found = {}
    for line in re.findall(r"^\.TP\n\.(BR? .*)$", _section("COMMANDS"), re.MULTILINE):
        macro, *parts = shlex.split(line)
        text = (" " if macro == "B" else "").join(parts)
        name = re.match(r"[a-z]+(?: [a-z]+)*", text)
        assert name, line
        found[name[0]] = text.removeprefix(name[0])
    return found


@BY_COMMAND
def test_each_command_has_an_entry_with_its_own_options_and_words(command: Command) -> None:
    said = _entries()[command.name]
    assert set(re.findall(r"--[a-z-]+", said)) == command.options - {"--json", "--help"}
    assert command.choices <= set(re.findall(r"\w+", said))
    values = dict(re.findall(r"(--[a-z-]+) +([A-Z]+)", said))
    assert values == command.values
    arguments = re.findall(r"\b[A-Z]{3,}\b", re.sub(r"\[.*?\]", "", said))
    assert [word.lower() for word in arguments] == list(command.arguments)


def test_no_other_command_has_an_entry() -> None:
    assert list(_entries()) == [command.name for command in commands()]


def test_general_options_are_explained() -> None:
    explained = set(re.findall(r"^\.BI? (--[a-z]+)", _section("OPTIONS"), re.MULTILINE))
    assert general_options() - {"--help"} <= explained
    assert {"--in", "--for", "--yes"} <= explained


def test_each_exit_status_stands_there() -> None:
    rows = re.findall(r"^([0-9]+)\t(.+)$", _section("EXIT STATUS"), re.MULTILINE)
    statuses = {kind.exit_status for kind in all_errors()} | {*VERDICTS.values(), DIFFERS}
    assert [int(status) for status, _ in rows] == sorted(statuses)


def test_the_version_is_that_of_the_package() -> None:
    assert f'"appfwd {__version__}"' in SOURCE.splitlines()[1]


@pytest.mark.parametrize(
    "command",
    [
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(PAGE)],
        ["groff", "-t", "-ww", "-man", "-Tutf8", "-K", "utf8", str(PAGE)],
    ],
    ids=["man", "groff"],
)
def test_the_formatter_warns_of_nothing(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
