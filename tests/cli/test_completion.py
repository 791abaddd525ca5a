"""Completions: bash's is loaded and asked; zsh's and fish's know every word of the parser."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from appfwd.cli.requests import PLANNED
from tests.bus.world import ROOT
from tests.cli.surface import Command, commands, general_options, names

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
    assert _bash("appfwctl", "") == names() | general_options()


def test_bash_narrows_by_what_is_typed() -> None:
    assert _bash("appfwctl", "un") == {"unguard", "unfence", "unblock"}
    assert _bash("appfwctl", "--json", "stat") == {"status"}
    assert _bash("appfwctl", "zz") == set()


@BY_COMMAND
def test_bash_offers_every_option_of_a_command(command: Command) -> None:
    assert _bash("appfwctl", *command.name.split(), "--") == command.options


@BY_COMMAND
def test_bash_offers_every_mode_of_a_command(command: Command) -> None:
    if not command.arguments:
        assert _bash("appfwctl", *command.name.split(), "") == set(command.modes)


@pytest.mark.parametrize("option", sorted({"--json"} | {o for c in commands() for o in c.values}))
def test_bash_takes_no_option_and_no_value_of_one_for_a_mode(option: str) -> None:
    value = [] if option == "--json" else ["1h"]
    assert _bash("appfwctl", option, *value, "bridge", "close", "--s") == {"--strict"}
    assert _bash("appfwctl", "bridge", option, *value, "cl") == {"close"}


@pytest.mark.parametrize("name", [c.name for c in commands() if "domain" in c.arguments])
def test_bash_offers_the_domains_that_run(name: str) -> None:
    assert _bash("appfwctl", name, "") == {"sshd_t", "mozilla_t"}
    assert _bash("appfwctl", name, "moz") == {"mozilla_t"}
    assert _bash("appfwctl", name, "--in", "ssh") == {"sshd_t"}
    assert _bash("appfwctl", name, "mozilla_t", "") == set()


def test_bash_offers_the_words_of_options_and_arguments() -> None:
    assert _bash("appfwctl", "list", "--kind", "") == {"grant", "guard", "fence"}
    assert _bash("appfwctl", "list", "--domain", "moz") == {"mozilla_t"}
    assert _bash("appfwctl", "observed", "--domain", "ssh") == {"sshd_t"}
    assert _bash("appfwctl", "bridge", "close", "--for", "") == {"60s", "5m", "1h"}


CHANGES = {*PLANNED}


def test_bash_offers_what_can_be_planned_and_goes_on_as_if_it_were_not() -> None:
    assert _bash("appfwctl", "plan", "") == CHANGES | {"--json", "--help"}
    assert _bash("appfwctl", "plan", "un") == {"unguard", "unfence"}
    assert _bash("appfwctl", "plan", "grant", "moz") == {"mozilla_t"}
    assert _bash("appfwctl", "plan", "bridge", "") == {"open", "observe", "close"}
    assert _bash("appfwctl", "plan", "bridge", "close", "--s") == {"--strict"}


def test_zsh_and_fish_offer_what_can_be_planned() -> None:
    for name, around in (("_appfwctl", "1:command:({})'"), ("appfwctl.fish", " -a '{}'")):
        text = (FOLDER / name).read_text("ascii")
        lists = re.findall(re.escape(around).replace(r"\{\}", "([a-z ]+)"), text)
        assert CHANGES in [set(one.split()) for one in lists]


def test_bash_offers_files_to_apply(tmp_path: Path) -> None:
    (tmp_path / "firewall.toml").touch()
    assert _bash("appfwctl", "apply", f"{tmp_path}/f") == {f"{tmp_path}/firewall.toml"}


def _zsh(command: Command) -> str:
    """Return what zsh's completion has for a command or a mode of one."""
    text = (FOLDER / "_appfwctl").read_text("ascii")
    within, _, name = command.name.replace(" ", "-").rpartition("-")
    before, _, after = text.partition("\n}\n\n_appfwctl_argument() {")
    word = f"{within}-{name}" if within else name
    for case in (rf"^ +(?:[a-z-]+ \| )*{word}(?: \| [a-z-]+)*\)(.*?);;", r"^ +\*\)(.*?);;"):
        found = re.search(case, before if within else after, re.MULTILINE | re.DOTALL)
        if found:
            return found[1]
    pytest.fail(command.name)


@BY_COMMAND
def test_zsh_knows_the_command_its_options_and_its_words(command: Command) -> None:
    text = (FOLDER / "_appfwctl").read_text("ascii")
    assert text.startswith("#compdef appfwctl\n")
    assert " " in command.name or re.search(rf"^ +'{command.name}:", text, re.MULTILINE)
    said = _zsh(command)
    assert set(re.findall(r"--[a-z-]+", said)) == command.options
    assert command.choices <= set(re.findall(r"\w+", said))
    assert not command.modes or f"({' '.join(command.modes)})" in said


@BY_COMMAND
def test_fish_knows_the_command_its_options_and_its_words(command: Command) -> None:
    lines = (FOLDER / "appfwctl.fish").read_text("ascii").splitlines()
    name, _, mode = command.name.partition(" ")
    assert mode or any(line.split("-a ")[-1].startswith(f"{name} -d") for line in lines)
    condition = (
        rf"__appfwctl_mode {name} [a-z ]*\b{mode}\b"
        if mode
        else rf"__fish_seen_subcommand_from [a-z ]*\b{name}\b"
    )
    mine = [
        line
        for line in lines
        if re.search(condition, line) or line.startswith("complete -c appfwctl -l ")
    ]
    options = {"--" + word for line in mine for word in re.findall(r" -l ([a-z-]+)", line)}
    assert options == command.options
    words = {
        word for line in mine for part in re.findall(r"-a '([^']*)'", line) for word in part.split()
    }
    assert command.choices | set(command.modes) <= words


def test_fish_lists_the_same_commands_at_its_head() -> None:
    text = (FOLDER / "appfwctl.fish").read_text("ascii").replace("\\\n", "")
    listed = re.search(r"^set -l commands (.*)$", text, re.MULTILINE)
    assert listed
    assert set(listed[1].split()) == names()
