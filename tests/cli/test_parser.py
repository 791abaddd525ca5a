"""The command line: what is taken, what is refused, and what help says."""

from __future__ import annotations

import pytest

from appfwd import __version__
from appfwd.cli.commands import COMMANDS, VERDICTS
from appfwd.cli.parser import build_parser
from appfwd.errors import all_errors
from tests.cli.surface import commands, general_options

#: Good arguments of each command.
GOOD = {
    "guard": ["10.0.0.5:3128"],
    "unguard": ["10.0.0.5:3128"],
    "grant": ["mozilla_t", "10.0.0.5:3128"],
    "revoke": ["mozilla_t", "10.0.0.5:3128"],
    "explain": ["mozilla_t", "10.0.0.5:3128"],
    "list": [],
    "rules": [],
    "status": [],
    "bridge": [],
    "up": [],
    "down": [],
}
BY_COMMAND = pytest.mark.parametrize("name", GOOD)


def test_each_command_of_the_parser_has_a_function_and_a_sample() -> None:
    names = {command.name for command in commands()}
    assert names == set(COMMANDS) == set(GOOD)


@BY_COMMAND
def test_json_stands_before_or_after_the_command(name: str) -> None:
    parser = build_parser()
    assert parser.parse_args(["--json", name, *GOOD[name]]).json
    assert parser.parse_args([name, "--json", *GOOD[name]]).json
    assert not parser.parse_args([name, *GOOD[name]]).json


@pytest.mark.parametrize("name", ["guard", "unguard", "grant", "revoke", "explain"])
def test_in_turns_the_direction(name: str) -> None:
    parser = build_parser()
    assert parser.parse_args([name, "--in", *GOOD[name]]).inbound
    assert parser.parse_args([name, *GOOD[name], "--in"]).inbound
    assert not parser.parse_args([name, *GOOD[name]]).inbound


WRONG = [
    [],
    ["frobnicate"],
    ["guard"],
    ["grant", "mozilla_t"],
    ["grant", "mozilla_t", "10.0.0.5", "10.0.0.6"],
    ["guard", "--out", "10.0.0.5"],
    ["guard", "--i", "10.0.0.5"],
    ["--js", "list"],
    ["list", "--kind", "fence"],
    ["list", "--dom", "mozilla_t"],
    ["bridge", "ajar"],
    ["bridge", "closed"],
    ["down", "--y"],
    ["up", "now"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_arguments_end_with_status_2_and_how_it_is_used(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(arguments)
    assert caught.value.code == 2
    assert "usage: appfwctl" in capsys.readouterr().err


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_help_names_every_command_and_every_exit_status() -> None:
    said = build_parser().format_help()
    for command in commands():
        assert f"\n    {command.name}" in said
    statuses = {kind.exit_status for kind in all_errors()} | set(VERDICTS.values())
    words = said.replace("\n", " ").replace(",", " ").split("exit status:")[1].split()
    assert {str(status) for status in statuses} <= set(words)


def test_general_options_are_few() -> None:
    assert general_options() == {"--help", "--version", "--json"}
