"""Before a change that may cut: what is told, who is asked, and when it is not done.

The daemon is a stand-in here, so that it gives any answer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from appfwd.errors import NotAuthorized, NotFound, TableFailed
from tests.bus.peer import PATIENCE
from tests.cli.processes import TOLD
from tests.cli.standin import STATUS, Script, StandIn

OWN = {"domain": "sshd_t", "destination": "192.0.2.7:22/tcp", "direction": "in"}
WHY = "your own connection would be cut"
WARNING = f"Warning: {WHY}.\n"


def _row(number: int) -> dict[str, Any]:
    place = f"10.0.0.{number}:3128/tcp"
    return {
        "domain": f"d{number}_t",
        "direction": "out",
        "destination": place,
        "count": number,
        "last": 1e9,
    }


def _lost(total: int = 0, *, cut: bool = False) -> dict[str, Any]:
    rows = [_row(number) for number in range(min(total, 1000))]
    return {"loses": rows, "total": total, "cut": cut, "why": WHY if cut else ""}


CUT, LOSSES = _lost(cut=True), _lost(2)
#: How each change is asked for, what is asked of Preview, and what is then called.
CHANGES: dict[str, tuple[list[str], str, dict[str, Any], tuple[Any, ...]]] = {
    "close": (["bridge", "close"], "bridge-closed", {}, ("SetBridge", "closed", {})),
    "strict": (
        ["bridge", "close", "--strict"],
        "bridge-closed",
        {"strict": True},
        ("SetBridge", "closed", {"strict": True}),
    ),
    "on": (["baseline", "on"], "baseline-on", {}, ("SetBaseline", True, {})),
    "off": (["baseline", "off"], "baseline-off", {}, ("SetBaseline", False, {})),
    "guard": (
        ["guard", "10.0.0.5"],
        "guard",
        {"subject": "10.0.0.5"},
        ("Guard", "10.0.0.5", {}),
    ),
    "guard inbound": (
        ["guard", "--in", "any:22"],
        "guard",
        {"subject": "any:22", "subject-direction": "in"},
        ("Guard", "any:22", {"direction": "in"}),
    ),
    "fence": (["fence", "a_t"], "fence", {"subject": "a_t"}, ("Fence", "a_t", {})),
    "whole fence": (
        ["fence", "--no-dns", "--no-loopback", "a_t"],
        "fence",
        {"subject": "a_t", "dns": False, "loopback": False},
        ("Fence", "a_t", {"dns": False, "loopback": False}),
    ),
}
BY_CHANGE = pytest.mark.parametrize(
    ("arguments", "change", "options", "call"), CHANGES.values(), ids=CHANGES
)
CLOSE = ("bridge", "close")


def _answer(call: tuple[Any, ...]) -> str | None:
    """Return what a call answers: the id of what it made, if it makes something."""
    return "7" if call[0] in ("Guard", "Fence") else None


def _script(found: object, *more: tuple[str, object]) -> Script:
    return [("Preview", found), *more]


DONE = ("SetBridge", None)


@BY_CHANGE
def test_what_nothing_is_lost_by_is_done_at_once_and_without_a_word(
    standin: StandIn,
    arguments: list[str],
    change: str,
    options: dict[str, Any],
    call: tuple[Any, ...],
) -> None:
    done = standin.run(*arguments, script=_script(_lost(), (call[0], _answer(call))), told=TOLD)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith((f"the {arguments[0]} is ", f"{arguments[0].rstrip('e')}ed: "))
    assert standin.asked == [("Preview", change, {**options, **OWN}), call]


@pytest.mark.parametrize("arguments", [("bridge", "open"), ("bridge", "observe")], ids=" ".join)
def test_what_only_opens_is_not_asked_about(standin: StandIn, arguments: tuple[str, ...]) -> None:
    assert standin.run(*arguments, script=[DONE], told=TOLD).returncode == 0


def test_without_a_connection_over_ssh_none_is_asked_about(
    standin: StandIn, tmp_path: Path
) -> None:
    for process in tmp_path.iterdir():
        (process / "environ").unlink(missing_ok=True)
    assert standin.run(*CLOSE, script=_script(_lost(), DONE)).returncode == 0
    assert standin.asked[0] == ("Preview", "bridge-closed", {})


@pytest.mark.parametrize(("total", "rows", "more"), [(1, 1, 0), (20, 20, 0), (1234, 20, 1214)])
def test_losses_are_listed_up_to_twenty_and_the_rest_counted(
    standin: StandIn, total: int, rows: int, more: int
) -> None:
    done = standin.run(*CLOSE, script=_script(_lost(total), DONE))
    title, header, *lines = done.stderr.splitlines()
    assert title == "Of what was observed, this would be lost:"
    assert header.split() == ["DOMAIN", "DIRECTION", "DESTINATION", "COUNT", "LAST"]
    if more:
        assert lines.pop() == f"  and {more} more"
    assert [line.split()[:4] for line in lines] == [
        [f"d{n}_t", "out", f"10.0.0.{n}:3128/tcp", str(n)] for n in range(rows)
    ]
    assert done.stdout == "the bridge is closed\n"


def test_losses_without_a_terminal_only_warn(standin: StandIn) -> None:
    done = standin.run(*CLOSE, script=_script(LOSSES, DONE))
    assert (done.returncode, done.stdout) == (0, "the bridge is closed\n")
    assert "d1_t" in done.stderr


@BY_CHANGE
def test_without_a_terminal_the_own_connection_is_not_cut_for_good(
    standin: StandIn,
    arguments: list[str],
    change: str,
    options: dict[str, Any],
    call: tuple[Any, ...],
) -> None:
    done = standin.run(*arguments, script=_script(CUT))
    assert (done.returncode, done.stdout) == (1, "")
    warning, refusal = done.stderr.splitlines()
    assert f"{warning}\n" == WARNING
    assert refusal.startswith("appfwctl: Nothing was done: it would cut the connection")
    assert "Use --for 60s" in refusal
    assert refusal.endswith("or --yes.")
    assert standin.asked == [("Preview", change, {**options, **OWN})]
    assert call[0] not in {name for name, *_ in standin.asked}


def test_without_a_terminal_it_may_be_cut_for_a_while(standin: StandIn) -> None:
    status = ("GetAll", {**STATUS, "Deadline": time.time() + 60})
    done = standin.run(*CLOSE, "--for", "60s", script=_script(CUT, DONE, status))
    assert done.returncode == 0
    assert done.stderr == WARNING
    assert standin.asked[1] == ("SetBridge", "closed", {"for": 60})


@pytest.mark.parametrize("found", [CUT, LOSSES], ids=["cut", "losses"])
@pytest.mark.parametrize("typed", [None, "n\n"], ids=["no terminal", "terminal"])
def test_yes_tells_all_and_asks_nothing(
    standin: StandIn, found: dict[str, Any], typed: str | None
) -> None:
    done = standin.run(*CLOSE, "--yes", script=_script(found, DONE), typed=typed)
    assert (done.returncode, done.stdout) == (0, "the bridge is closed\n")
    assert (WARNING in done.stderr) == (found is CUT)
    assert ("would be lost" in done.stderr) == (found is LOSSES)
    assert "[y/N]" not in done.stderr


@pytest.mark.parametrize("found", [CUT, LOSSES], ids=["cut", "losses"])
@pytest.mark.parametrize("trial", [[], ["--for", "60s"]], ids=["for good", "on trial"])
@pytest.mark.parametrize("typed", ["y\n", "YES\n", "yes\n"])
def test_a_person_may_say_yes(
    standin: StandIn, found: dict[str, Any], trial: list[str], typed: str
) -> None:
    script = _script(found, DONE, *([("GetAll", STATUS)] if trial else []))
    done = standin.run(*CLOSE, *trial, script=script, typed=typed)
    assert done.returncode == 0
    assert done.stderr.endswith("\nGo on? [y/N] ")


@pytest.mark.parametrize("found", [CUT, LOSSES], ids=["cut", "losses"])
@pytest.mark.parametrize("trial", [[], ["--for", "60s"]], ids=["for good", "on trial"])
@pytest.mark.parametrize("typed", ["n\n", "\n", "x\n", "\x04"], ids=["n", "enter", "x", "end"])
def test_anything_else_is_a_no(
    standin: StandIn, found: dict[str, Any], trial: list[str], typed: str
) -> None:
    done = standin.run(*CLOSE, *trial, script=_script(found), typed=typed)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        "appfwctl: Nothing was done. With --yes it is done without asking.\n"
    )


@contextmanager
def _asked(standin: StandIn) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Have appfwctl ask; give our end of its terminal, and the process."""
    ours, theirs = os.openpty()
    process = standin.start(*CLOSE, stdin=theirs)
    os.close(theirs)
    with process:
        standin.answer("Preview", LOSSES)
        assert process.stderr is not None
        said = ""
        while not said.endswith("[y/N] "):
            said += process.stderr.read(1)
        yield ours, process


def test_an_interrupt_at_the_question_ends_it_at_once(standin: StandIn) -> None:
    with _asked(standin) as (ours, process):
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
        os.close(ours)
    assert (process.returncode, output) == (130, "")


def test_a_terminal_that_goes_away_is_a_no(standin: StandIn) -> None:
    with _asked(standin) as (ours, process):
        os.close(ours)
        output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (1, "")
    assert errors.strip().startswith("appfwctl: Nothing was done.")


@pytest.mark.parametrize("typed", [None, "y\n"], ids=["no terminal", "terminal"])
@pytest.mark.parametrize("trial", [[], ["--for", "60s"]], ids=["for good", "on trial"])
def test_a_preview_that_is_refused_ends_it(
    standin: StandIn, typed: str | None, trial: list[str]
) -> None:
    refusal = NotAuthorized("You are not authorised (org.appfwd1.preview).")
    done = standin.run(*CLOSE, *trial, script=_script(refusal), typed=typed)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == "appfwctl: You are not authorised (org.appfwd1.preview).\n"


def test_with_yes_a_preview_that_is_refused_is_told_and_passed_over(standin: StandIn) -> None:
    refusal = NotAuthorized("You are not authorised (org.appfwd1.preview).")
    done = standin.run(*CLOSE, "--yes", script=_script(refusal, DONE))
    assert (done.returncode, done.stdout) == (0, "the bridge is closed\n")
    assert done.stderr == (
        "appfwctl: What would be lost cannot be told: "
        "You are not authorised (org.appfwd1.preview).\n"
    )


def test_a_change_that_fails_after_it_was_agreed_to_has_its_own_status(standin: StandIn) -> None:
    script = _script(LOSSES, ("SetBridge", TableFailed("nftables said no.")))
    done = standin.run(*CLOSE, script=script, typed="y\n")
    assert (done.returncode, done.stdout) == (10, "")
    assert done.stderr.endswith("appfwctl: nftables said no.\n")


OUTCOMES: dict[str, tuple[list[str], Script, str | None, int]] = {
    "done": ([], _script(_lost(50, cut=True), DONE), "y\n", 0),
    "done on trial": (["--for", "1m"], _script(CUT, DONE, ("GetAll", STATUS)), None, 0),
    "done without asking": (["--yes"], _script(NotFound("No."), DONE), None, 0),
    "no": ([], _script(LOSSES), "n\n", 1),
    "refused for the connection": ([], _script(CUT), None, 1),
    "refused preview": ([], _script(NotAuthorized("No.")), None, 5),
    "refused change": ([], _script(LOSSES, ("SetBridge", TableFailed("No."))), None, 10),
}


@pytest.mark.parametrize(
    ("arguments", "script", "typed", "status"), OUTCOMES.values(), ids=OUTCOMES
)
def test_with_json_standard_output_is_one_value_of_json_and_all_else_goes_to_errors(
    standin: StandIn, arguments: list[str], script: Script, typed: str | None, status: int
) -> None:
    done = standin.run("--json", *CLOSE, *arguments, script=script, typed=typed)
    assert done.returncode == status
    value = json.loads(done.stdout)
    assert set(value) - {"until"} == ({"error", "message"} if status else {"command", "result"})
    assert ("until" in value) == ("--for" in arguments)


@pytest.mark.parametrize(
    ("arguments", "call", "begins"),
    [
        (["bridge", "open"], "SetBridge", "the bridge is open"),
        (["bridge", "observe"], "SetBridge", "the bridge is observed"),
    ],
    ids=["open", "observe"],
)
def test_a_trial_says_when_it_goes_back_and_how_it_is_confirmed(
    standin: StandIn, arguments: list[str], call: str, begins: str
) -> None:
    script = [(call, None), ("GetAll", {**STATUS, "Deadline": 9e9})]
    done = standin.run(*arguments, "--for", "90", script=script)
    assert done.returncode == 0
    first, second = done.stdout.splitlines()
    assert first.startswith(begins)
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(9e9))
    assert second == f"it goes back at {at}, unless you confirm with 'appfwctl confirm'"
    assert standin.asked[0][-1] == {"for": 90}


def test_an_earlier_trial_of_something_else_is_not_taken_for_it(standin: StandIn) -> None:
    before = time.time()
    script = [DONE, ("GetAll", {**STATUS, "Deadline": before + 10})]
    done = standin.run("--json", "bridge", "open", "--for", "1h", script=script)
    assert before + 3600 <= json.loads(done.stdout)["until"] <= time.time() + 3600


def test_a_trial_of_what_is_so_already_goes_nowhere(standin: StandIn) -> None:
    script = [DONE, ("GetAll", STATUS)]
    done = standin.run("bridge", "open", "--for", "1h", script=script)
    assert done.stdout == "the bridge is open\nnothing goes back: it was so before\n"


def test_who_may_not_read_the_deadline_is_told_the_time_all_the_same(standin: StandIn) -> None:
    before = time.time()
    script = [DONE, ("GetAll", NotAuthorized("No."))]
    done = standin.run("--json", "bridge", "open", "--for", "1h", script=script)
    assert (done.returncode, done.stderr) == (0, "")
    assert before + 3600 <= json.loads(done.stdout)["until"] <= time.time() + 3600


def _broken() -> int:
    ours, theirs = os.pipe()
    os.close(ours)
    return theirs


def test_an_error_output_that_nobody_reads_hinders_nothing(standin: StandIn) -> None:
    pipe = _broken()
    done = standin.run(*CLOSE, script=_script(LOSSES, DONE), stderr=pipe)
    os.close(pipe)
    assert (done.returncode, done.stdout) == (0, "the bridge is closed\n")


def test_an_output_that_nobody_reads_is_status_1_and_the_change_is_made(standin: StandIn) -> None:
    for arguments, script in (([], _script(_lost(), DONE)), (["--json"], _script(CUT))):
        pipe = _broken()
        done = standin.run(*arguments, *CLOSE, script=script, stdout=pipe)
        os.close(pipe)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr


def test_a_full_disk_is_told(standin: StandIn) -> None:
    with Path("/dev/full").open("w") as full:
        done = standin.run("confirm", script=[("Confirm", 1)], stdout=full)
    assert done.returncode == 1
    assert done.stderr == "appfwctl: The output could not be written (No space left on device).\n"


@pytest.mark.parametrize("closed", ["0", "1", "2"], ids=["input", "output", "errors"])
def test_streams_that_are_closed_from_the_beginning_are_no_surprise(
    standin: StandIn, closed: str
) -> None:
    def close() -> None:
        os.close(int(closed))

    done = standin.run("--json", *CLOSE, script=_script(LOSSES, DONE), preexec_fn=close)
    assert done.returncode == (closed == "1")
    assert "Traceback" not in done.stderr
    if closed != "1":
        assert set(json.loads(done.stdout)) == {"command", "result"}
    if closed != "2":
        assert "d1_t" in done.stderr
