"""plan, apply and export as a program against the daemon: what is shown, asked, done and told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from appfwd.cli.document import read
from appfwd.errors import AppfwdError, InvalidDocument, NotAuthorized
from tests.bus.running import Daemon
from tests.bus.samples import PLACE, prepare
from tests.cli.conftest import Run
from tests.cli.processes import TOLD
from tests.cli.standin import StandIn

DOCUMENT = f"""
[[guard]]
destination = "{PLACE}"

[[grant]]
domain = ["mozilla_t", "squid_t"]
destination = "{PLACE}"
"""
SAME: dict[str, Any] = {
    **{key: [] for key in ("members", "settings", "effects", "policy", "elements", "commands")},
    **dict.fromkeys(("members_total", "effects_total", "policy_total", "elements_total"), 0),
    **dict.fromkeys(("policy_loads", "commands_total", "transactions", "trials_over"), 0),
}
OTHER = {**SAME, "settings": [{"setting": "bridge", "before": "closed", "after": "open"}]}
NOTHING: dict[str, Any] = {"loses": [], "total": 0, "cut": False, "why": ""}
CUT = {**NOTHING, "cut": True, "why": "your own connection would be cut"}
APPLIED = ("Apply", {"added": 2, "removed": 1})


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "firewall.toml"
    path.write_text(DOCUMENT, "utf-8")
    return str(path)


def test_a_file_comes_into_force_and_is_exported_again(run: Run, daemon: Daemon, file: str) -> None:
    daemon.tell("fill", guards=["10.9.9.9"], grants=[("mozilla_t", PLACE)])
    done = run("apply", file)
    assert (done.returncode, done.stdout) == (0, "applied: 2 came, 1 went\n")
    assert "  + grant squid_t out 10.0.0.5:3128\n" in done.stderr
    assert "  - guard out 10.9.9.9\n" in done.stderr
    assert {row[0] for row in daemon.state()["members"]} == {"", "mozilla_t", "squid_t"}
    again = run("apply", "-", stdin=None, input=run("export").stdout)
    assert (again.returncode, again.stdout, again.stderr) == (0, "applied: 0 came, 0 went\n", "")


def test_check_changes_nothing_and_tells_by_its_status(run: Run, daemon: Daemon, file: str) -> None:
    before = daemon.state()
    done = run("apply", "--check", file)
    assert (done.returncode, done.stderr) == (22, "")
    assert "  + guard out 10.0.0.5:3128\n" in done.stdout
    assert daemon.state() == before
    assert run("apply", file).returncode == 0
    done = run("apply", "--check", file)
    assert (done.returncode, done.stdout) == (0, "nothing would change\n")


def test_a_plan_says_what_comes_who_gains_and_who_loses(run: Run, daemon: Daemon) -> None:
    prepare(daemon)
    before = daemon.state()
    text = run("plan", "grant", "squid_t", PLACE, "--boot").stdout
    assert "  + grant squid_t out 10.0.0.5:3128 (until the machine goes down)\n" in text
    assert "  + squid_t reaches 10.0.0.5:3128" in text
    assert "\npolicy, " in text
    assert "\ntable, " in text
    text = run("plan", "revoke", "mozilla_t", PLACE).stdout
    assert "  - grant mozilla_t out 10.0.0.5:3128\n" in text
    assert "  - mozilla_t loses 10.0.0.5:3128" in text
    assert daemon.state() == before


def test_what_the_call_would_be_refused_for_its_plan_is(run: Run, daemon: Daemon) -> None:
    prepare(daemon)
    assert run("plan", "grant", "mozila_t", PLACE).returncode == 3
    assert run("plan", "revoke", "squid_t", PLACE).returncode == 4
    assert run("plan", "guard", "10.0.0.5:x").returncode == 2


WRONG = {
    "toml": ('[[guard]]\ndestination = "10.0.0.5\n', "line 2, column "),
    "destination": ('[[guard]]\ndestination = "10.0.0.x"\n', "line 2, column 15: "),
    "domain": (DOCUMENT.replace("squid_t", "squit_t"), "line 6, column 24: "),
    "key": (f'[[guard]]\ndestination = "{PLACE}"\nplace = 1\n', "line 3, column 1: "),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("words", [("apply",), ("apply", "--check"), ("plan", "apply")], ids=str)
def test_what_is_wrong_is_told_with_file_line_and_column(
    run: Run, daemon: Daemon, tmp_path: Path, wrong: tuple[str, str], words: tuple[str, ...]
) -> None:
    text, place = wrong
    prepare(daemon)
    before = daemon.state()
    path = tmp_path / "wrong.toml"
    path.write_text(text, "utf-8")
    done = run(*words, str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"appfwctl: {path}, {place}")
    assert daemon.state() == before


def test_without_a_right_nothing_is_applied(run: Run, daemon: Daemon, file: str) -> None:
    before = daemon.state()
    os.chmod(file, 0o644)  # noqa: PTH101
    Path(file).parent.chmod(0o755)
    done = run("apply", "-", uid=65534, stdin=None, input=DOCUMENT)
    assert done.returncode == 5
    assert daemon.state() == before


# With a stand-in, so that any answer comes.


def test_differences_are_shown_first_and_a_person_is_asked(standin: StandIn, file: str) -> None:
    script = [("Plan", OTHER), ("Preview", NOTHING), APPLIED]
    done = standin.run("apply", file, script=script, typed="y\n", told=TOLD)
    assert done.returncode == 0
    assert "  ~ bridge: closed -> open\n" in done.stderr
    assert "Go on? [y/N] " in done.stderr
    assert standin.asked[0] == ("Plan", "Apply", [DOCUMENT], {})
    assert standin.asked[1][2]["subject"] == DOCUMENT
    assert standin.asked[2] == ("Apply", DOCUMENT, {})


def test_a_no_is_a_no(standin: StandIn, file: str) -> None:
    done = standin.run("apply", file, script=[("Plan", OTHER), ("Preview", NOTHING)], typed="n\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Nothing was done." in done.stderr


@pytest.mark.parametrize("typed", ["", None], ids=["terminal", "none"])
def test_yes_asks_nobody(standin: StandIn, file: str, typed: str | None) -> None:
    script = [("Plan", OTHER), ("Preview", CUT), APPLIED]
    done = standin.run("apply", "--yes", file, script=script, typed=typed, told=TOLD)
    assert done.returncode == 0
    assert "Warning: your own connection would be cut.\n" in done.stderr


def test_ones_own_connection_is_not_cut_where_nobody_can_be_asked(
    standin: StandIn, file: str
) -> None:
    done = standin.run("apply", file, script=[("Plan", OTHER), ("Preview", CUT)], told=TOLD)
    assert done.returncode == 1
    assert "Use --yes." in done.stderr
    assert "--for" not in done.stderr


def test_where_nothing_differs_nobody_is_asked(standin: StandIn, file: str) -> None:
    done = standin.run("apply", file, script=[("Plan", SAME), APPLIED], typed="")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_daemon_finds_wrong_when_it_applies_has_the_file_too(
    standin: StandIn, file: str
) -> None:
    wrong = InvalidDocument("line 3, column 1: gone.\nline 4, column 1: gone too.")
    done = standin.run("apply", "--yes", file, script=[("Plan", SAME), ("Apply", wrong)])
    assert done.returncode == 2
    assert done.stderr == (
        f"appfwctl: {file}, line 3, column 1: gone.\n{file}, line 4, column 1: gone too.\n"
    )


def test_who_may_not_plan_learns_it(standin: StandIn, file: str) -> None:
    done = standin.run("apply", file, script=[("Plan", NotAuthorized("Not yours."))])
    assert (done.returncode, done.stderr) == (5, "appfwctl: Not yours.\n")


# Without any daemon.


def test_syntax_needs_no_daemon(standin: StandIn, file: str, tmp_path: Path) -> None:
    done = standin.run("apply", "--syntax", file)
    assert (done.returncode, done.stdout.split(":")[0]) == (
        0,
        f"{file} is a document; what it names was not looked up\n",
    )
    (tmp_path / "b.toml").write_text(WRONG["destination"][0], "utf-8")
    done = standin.run("--json", "apply", "--syntax", str(tmp_path / "b.toml"))
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "org.appfwd1.Error.InvalidDocument"


@pytest.mark.parametrize("name", ["gone.toml", ".", "a\x00b", "a\nb" * 50], ids=ascii)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(AppfwdError, match=r"cannot be read: [^\n]+\.$") as caught:
        read(f"{tmp_path}/{name}")
    assert not isinstance(caught.value, InvalidDocument)
    assert str(caught.value).isprintable()


def test_bytes_that_are_no_text_have_a_place(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes("# é\n#é".encode() + b"\xff")
    with pytest.raises(InvalidDocument, match=r"a\.toml, line 2, column 3: This is not UTF-8"):
        read(f"{tmp_path}/a.toml")


def test_a_file_of_no_end_is_not_read_to_it() -> None:
    with pytest.raises(AppfwdError, match=r"^/dev/zero, line 1, column 1: "):
        read("/dev/zero")


def test_standard_input_that_is_closed_is_told(run: Run, file: str) -> None:
    with Path(file).open("wb") as unreadable:  # open for writing alone
        done = run("apply", "-", stdin=unreadable)
    assert done.returncode == 1
    assert done.stderr.startswith("appfwctl: standard input cannot be read: ")
