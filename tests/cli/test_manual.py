"""The manual page: complete, and free of what the formatter warns of."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from appfwd import __version__
from appfwd.cli.commands import VERDICTS
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


@BY_COMMAND
def test_each_command_has_an_entry_with_its_own_options_and_words(command: Command) -> None:
    entry = re.search(rf"^\.BR? {command.name}\b(.*)$", _section("COMMANDS"), re.MULTILINE)
    assert entry, command.name
    own = command.options - {"--json", "--help"}
    assert set(re.findall(r"--[a-z]+", entry[1])) == own
    assert command.choices <= set(re.findall(r"\w+", entry[1]))
    arguments = [word.lower() for word in re.findall(r"\b[A-Z]{3,}\b", entry[1])]
    assert [name for name in command.arguments if name != "mode"] == [
        word for word in arguments if f"--{word}" not in command.options
    ]


def test_no_other_command_has_an_entry() -> None:
    entries = re.findall(r"^\.TP\n\.BR? (\w+)", _section("COMMANDS"), re.MULTILINE)
    assert sorted(entries) == sorted(command.name for command in commands())


def test_general_options_are_explained() -> None:
    explained = set(re.findall(r"^\.B (--[a-z]+)$", _section("OPTIONS"), re.MULTILINE))
    assert general_options() - {"--help"} <= explained


def test_each_exit_status_stands_there() -> None:
    rows = re.findall(r"^([0-9]+)\t(.+)$", _section("EXIT STATUS"), re.MULTILINE)
    statuses = {kind.exit_status for kind in all_errors()} | set(VERDICTS.values())
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
