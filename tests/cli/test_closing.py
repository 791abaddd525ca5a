"""What is told before a change that cuts, and when it is no trial, with the real daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bus.daemon import NEXT
from tests.bus.fixtures import NOBODY
from tests.bus.records import SEEN, observe, record
from tests.bus.running import Daemon
from tests.bus.running import daemon as running_daemon
from tests.bus.samples import PLACE, prepare
from tests.bus.world import world as running_world
from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def _daemon() -> Iterator[Daemon]:
    """Have a daemon with one library."""
    with running_world() as world, running_daemon(world, NEXT) as made:
        yield made


def test_the_baseline_tells_what_policy_does_not_let_and_nothing_else(
    run: Run, daemon: Daemon
) -> None:
    observe(daemon, SEEN)
    done = run("baseline", "on")
    assert (done.returncode, done.stdout) == (0, "the baseline is on\n")
    assert [line.split()[:3] for line in done.stderr.splitlines()[2:]] == [
        ["mozilla_t", "out", "10.0.0.81:8443/tcp"]
    ]


def test_many_losses_are_cut_short(run: Run, daemon: Daemon) -> None:
    observe(daemon, [record("mozilla_t", f"10.0.1.{n}", 80) for n in range(25)])
    done = run("bridge", "close")
    assert (done.returncode, done.stdout) == (0, "the bridge is closed\n")
    *lines, last = done.stderr.splitlines()
    assert len([line for line in lines if "mozilla_t" in line]) == 20
    assert last == "  and 5 more"


@pytest.mark.parametrize("command", [("bridge", "close"), ("baseline", "on"), ("baseline", "off")])
def test_who_may_not_look_before_changes_nothing(
    run: Run, daemon: Daemon, command: tuple[str, ...]
) -> None:
    with daemon.unchanged():
        done = run(*command, uid=NOBODY)
    assert (done.returncode, done.stdout) == (5, "")
    assert "org.appfwd1.preview" in done.stderr


def test_a_trial_of_what_is_so_for_good_is_none(run: Run, daemon: Daemon) -> None:
    prepare(daemon)
    done = run("guard", PLACE, "--for", "60s")
    assert done.stdout.splitlines()[1] == "nothing goes back: it was so before"
    assert "on trial" not in run("status").stdout
    assert run("confirm").returncode == 4


def test_the_same_for_good_ends_a_trial(run: Run) -> None:
    assert run("guard", PLACE, "--for", "60s").returncode == 0
    assert "on trial" in run("status").stdout
    assert run("guard", PLACE).returncode == 0
    assert "on trial" not in run("status").stdout


def test_while_down_nothing_can_be_tried(run: Run) -> None:
    assert run("down", "--yes").returncode == 0
    done = run("bridge", "open", "--for", "60s")
    assert (done.returncode, done.stdout) == (1, "")
    assert "'appfwctl up' first" in done.stderr
