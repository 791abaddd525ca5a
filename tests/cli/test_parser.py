"""The command line: what is taken, what is refused, and what help says."""

from __future__ import annotations

import pytest

from appfwd import __version__
from appfwd.cli.commands import COMMANDS, VERDICTS
from appfwd.cli.parser import build_parser, parse
from appfwd.cli.requests import PLANNED
from appfwd.cli.whole import DIFFERS
from appfwd.errors import all_errors
from tests.cli.surface import commands, general_options, names

#: Good arguments of each command.
GOOD = {
    "guard": ["10.0.0.5:3128"],
    "unguard": ["10.0.0.5:3128"],
    "fence": ["mozilla_t"],
    "unfence": ["mozilla_t"],
    "grant": ["mozilla_t", "10.0.0.5:3128"],
    "revoke": ["mozilla_t", "10.0.0.5:3128"],
    "explain": ["mozilla_t", "10.0.0.5:3128"],
    "who": ["10.0.0.5:3128"],
    "list": [],
    "types": ["mozilla_t"],
    "domains": [],
    "rules": [],
    "status": [],
    "baseline": [],
    "baseline on": [],
    "baseline off": [],
    "baseline show": [],
    "bridge": [],
    "bridge open": [],
    "bridge observe": [],
    "bridge close": [],
    "observed": [],
    "denied": [],
    "pending": [],
    "answer": ["8ed604", "allow"],
    "watch": [],
    "blocked": [],
    "unblock": ["mozilla_t", "10.0.0.5:3128"],
    "confirm": [],
    "plan": ["grant", "mozilla_t", "10.0.0.5:3128"],
    "apply": ["firewall.toml"],
    "export": [],
    "up": [],
    "down": [],
}
BY_COMMAND = pytest.mark.parametrize("name", GOOD)


def test_each_command_of_the_parser_has_a_function_and_a_sample() -> None:
    assert {command.name for command in commands()} == set(GOOD)
    assert names() == {*COMMANDS, "watch"}


@BY_COMMAND
def test_json_stands_before_or_after_the_command(name: str) -> None:
    parser = build_parser()
    words = name.split()
    assert parser.parse_args(["--json", *words, *GOOD[name]]).json
    assert parser.parse_args([*words, "--json", *GOOD[name]]).json
    assert parser.parse_args([*words[:1], "--json", *words[1:], *GOOD[name]]).json
    assert not parser.parse_args([*words, *GOOD[name]]).json


@pytest.mark.parametrize(
    "name", ["guard", "unguard", "grant", "revoke", "explain", "who", "unblock"]
)
def test_in_turns_the_direction(name: str) -> None:
    parser = build_parser()
    assert parser.parse_args([name, "--in", *GOOD[name]]).inbound
    assert parser.parse_args([name, *GOOD[name], "--in"]).inbound
    assert not parser.parse_args([name, *GOOD[name]]).inbound


TIMES = {
    "1": 1,
    "1s": 1,
    "60s": 60,
    "5m": 300,
    "1h": 3600,
    "24h": 86400,
    "86400": 86400,
    "1440m": 86400,
    "1d": 86400,
    "007": 7,
}
NO_TIMES = [
    *("", "0", "0s", "25h", "1441m", "86401", "99999h", "100000", "2d", "s", "1.5m", "1 m", " 1"),
    *("1m30s", "-5", "+5", "1_0", "0x10", "1M", "\u0661s", "5\n", "5s\x00", "9" * 100_000, "later"),
]
#: What grants, and may say when that ends.
ENDS = ("grant", "answer")
#: What goes back by itself, unless confirmed, and (of another name there) what ends.
FOR = [c.name for c in commands() if "--for" in c.options and c.name not in ENDS]


@pytest.mark.parametrize("name", FOR)
@pytest.mark.parametrize(("text", "seconds"), TIMES.items())
def test_for_takes_a_time_in_seconds_minutes_or_hours(name: str, text: str, seconds: int) -> None:
    parser = build_parser()
    chosen = parser.parse_args([*name.split(), "--for", text, *GOOD[name]])
    assert chosen.seconds == seconds
    assert parser.parse_args([*name.split(), *GOOD[name]]).seconds is None


def test_changes_that_can_be_tried_are_these() -> None:
    modes = ("bridge open", "bridge observe", "bridge close")
    assert {*modes, "guard", "fence", "baseline on", "baseline off"} == set(FOR)


@pytest.mark.parametrize("text", NO_TIMES, ids=lambda text: ascii(text[:9]))
def test_a_time_of_another_form_or_out_of_range_is_refused_with_what_to_write(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["bridge", "close", f"--for={text}"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "is no time from 1s to 24h; write it like 30s, 5m or 1h" in said
    assert len(said) < 400
    assert said.replace("\n", "").isprintable()


WRONG = [
    [],
    ["frobnicate"],
    ["guard"],
    ["grant", "mozilla_t"],
    ["grant", "mozilla_t", "10.0.0.5", "10.0.0.6"],
    ["guard", "--out", "10.0.0.5"],
    ["guard", "--i", "10.0.0.5"],
    ["--js", "list"],
    ["list", "--kind", "fences"],
    ["list", "--dom", "mozilla_t"],
    ["bridge", "ajar"],
    ["bridge", "closed"],
    ["bridge", "--strict"],
    ["bridge", "open", "--strict"],
    ["bridge", "open", "--yes"],
    ["bridge", "close", "--for"],
    ["bridge", "close", "--str"],
    ["bridge", "open", "close"],
    ["baseline", "show", "--for", "60s"],
    ["baseline", "--for", "60s"],
    ["baseline", "true"],
    ["unguard", "--for", "60s", "10.0.0.5"],
    ["grant", "--for", "60s", "--boot", "mozilla_t", "10.0.0.5"],
    ["grant", "--session", "--boot", "mozilla_t", "10.0.0.5"],
    ["grant", "--until", "18:00", "--for", "60s", "mozilla_t", "10.0.0.5"],
    ["fence"],
    ["fence", "--in", "mozilla_t"],
    ["fence", "mozilla_t", "10.0.0.5"],
    ["fence", "--loopback", "mozilla_t"],
    ["unfence"],
    ["unfence", "--no-dns", "mozilla_t"],
    ["observed", "--accept", "--forget"],
    ["observed", "mozilla_t"],
    ["types"],
    ["types", "mozilla_t", "squid_t"],
    ["who"],
    ["who", "mozilla_t", "10.0.0.5"],
    ["confirm", "all"],
    ["down", "--y"],
    ["up", "now"],
    ["apply"],
    ["apply", "--check", "--syntax", "a.toml"],
    ["apply", "--for", "60s", "a.toml"],
    ["apply", "a.toml", "b.toml"],
    ["export", "a.toml"],
    ["plan", "--for", "60s", "guard", "10.0.0.5"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_arguments_end_with_status_2_and_how_it_is_used(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(arguments)
    assert caught.value.code == 2
    assert "usage: appfwctl" in capsys.readouterr().err


PLANS = [
    ["guard", "--in", "any:22"],
    ["unguard", "any:22"],
    ["fence", "--no-dns", "mozilla_t"],
    ["unfence", "mozilla_t"],
    ["grant", "--for", "1h", "mozilla_t", "any:443"],
    ["revoke", "mozilla_t", "any:443"],
    ["baseline", "off"],
    ["bridge", "close", "--strict"],
    ["apply", "-"],
    ["up"],
    ["down"],
]


@pytest.mark.parametrize("words", PLANS, ids=" ".join)
def test_a_plan_is_of_the_command_that_stands_after_it(words: list[str]) -> None:
    planned = parse(["plan", *words]).planned
    assert planned == parse(words)
    for where in (
        ["--json", "plan", *words],
        ["plan", "--json", *words],
        ["plan", *words, "--json"],
    ):
        assert parse(where).json
    assert not parse(["plan", *words]).json


def test_every_change_that_can_be_planned_is_tried_here() -> None:
    assert {words[0] for words in PLANS} == set(PLANNED)


@pytest.mark.parametrize(
    "words",
    [
        *([], ["list"], ["plan", "up"], ["confirm"], ["observed", "--accept"], ["export"]),
        *(["bridge"], ["baseline"], ["baseline", "show"], ["grant", "a_t"], ["frobnicate"]),
        ["--version-of", "grant"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_planned_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["plan", *words])
    assert caught.value.code == 2
    assert "usage: appfwctl" in capsys.readouterr().err


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_help_names_every_command_and_every_exit_status() -> None:
    said = build_parser().format_help()
    for name in names():
        assert f"\n    {name} " in said
    statuses = {kind.exit_status for kind in all_errors()} | {*VERDICTS.values(), DIFFERS}
    words = said.replace("\n", " ").replace(",", " ").split("exit status:")[1].split()
    assert {str(status) for status in statuses} <= set(words)


def test_general_options_are_few() -> None:
    assert general_options() == {"--help", "--version", "--json"}
