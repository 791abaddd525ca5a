"""Completions: bash's is loaded and asked; zsh's and fish's know every word of the parser."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.bus.world import ROOT
from tests.cli.surface import Command, commands, general_options

FOLDER = ROOT / "docs/completion"
BY_COMMAND = pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
_ASK = """
source "$1" || exit 1
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
function ps { printf '%s\\n' system_u:system_r:sshd_t:s0 user_u:user_r:mozilla_t:s0; }
complete -p appfwctl >/dev/null || exit 1
_appfwctl
printf '%s\\n' "${COMPREPLY[@]}"
"""


def _bash(*words: str) -> set[str]:
    """Return what bash offers for the last of ``words``."""
    command = ["bash", "--norc", "-uc", _ASK, "bash", str(FOLDER / "appfwctl.bash"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def test_bash_offers_every_command_and_general_option() -> None:
    assert _bash("appfwctl", "") == {c.name for c in commands()} | general_options()


def test_bash_narrows_by_what_is_typed() -> None:
    assert _bash("appfwctl", "un") == {"unguard"}
    assert _bash("appfwctl", "--json", "stat") == {"status"}
    assert _bash("appfwctl", "zz") == set()


@BY_COMMAND
def test_bash_offers_every_option_of_a_command(command: Command) -> None:
    assert _bash("appfwctl", command.name, "--") == command.options


@pytest.mark.parametrize("name", [c.name for c in commands() if "domain" in c.arguments])
def test_bash_offers_the_domains_that_run(name: str) -> None:
    assert _bash("appfwctl", name, "") == {"sshd_t", "mozilla_t"}
    assert _bash("appfwctl", name, "moz") == {"mozilla_t"}
    assert _bash("appfwctl", name, "--in", "ssh") == {"sshd_t"}
    assert _bash("appfwctl", name, "mozilla_t", "") == set()


def test_bash_offers_the_words_of_options_and_arguments() -> None:
    assert _bash("appfwctl", "list", "--kind", "") == {"grant", "guard"}
    assert _bash("appfwctl", "list", "--domain", "moz") == {"mozilla_t"}
    assert _bash("appfwctl", "bridge", "") == {"open", "close"}


@BY_COMMAND
def test_zsh_knows_the_command_its_options_and_its_words(command: Command) -> None:
    text = (FOLDER / "_appfwctl").read_text("ascii")
    assert text.startswith("#compdef appfwctl\n")
    assert re.search(rf"^ +'{command.name}:", text, re.MULTILINE)
    case = re.search(
        rf"^ +(?:\w+ \| )*{command.name}(?: \| \w+)*\)(.*?);;", text, re.MULTILINE | re.DOTALL
    )
    case = case or re.search(r"^ +\*\)(.*?);;", text, re.MULTILINE | re.DOTALL)
    assert case
    assert set(re.findall(r"--[a-z]+", case[1])) == command.options
    assert command.choices <= set(re.findall(r"\w+", case[1]))


@BY_COMMAND
def test_fish_knows_the_command_its_options_and_its_words(command: Command) -> None:
    lines = (FOLDER / "appfwctl.fish").read_text("ascii").splitlines()
    assert any(line.split("-a ")[-1].startswith(f"{command.name} -d") for line in lines)
    mine = [
        line
        for line in lines
        if re.search(rf"__fish_seen_subcommand_from [a-z ]*\b{command.name}\b", line)
        or (line.startswith("complete -c appfwctl -l "))
    ]
    options = {"--" + word for line in mine for word in re.findall(r" -l ([a-z]+)", line)}
    assert options == command.options
    words = {
        word for line in mine for part in re.findall(r"-a '([^']*)'", line) for word in part.split()
    }
    assert command.choices <= words


def test_fish_lists_the_same_commands_at_its_head() -> None:
    text = (FOLDER / "appfwctl.fish").read_text("ascii")
    listed = re.search(r"^set -l commands (.*)$", text, re.MULTILINE)
    assert listed
    assert set(listed[1].split()) == {command.name for command in commands()}
