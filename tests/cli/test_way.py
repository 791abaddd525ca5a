"""The way from an open bridge to a closed one, with the real daemon, as a person goes it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bus.daemon import NEXT
from tests.bus.peer import Peer
from tests.bus.records import SEEN, observe
from tests.bus.running import Daemon
from tests.bus.running import daemon as running_daemon
from tests.bus.world import ROOT
from tests.bus.world import world as running_world
from tests.cli.conftest import Result, Run
from tests.cli.processes import LOGIN, make
from tests.cli.terminal import on_terminal

OURS = "192.0.2.7:22/tcp"
KEEPS = f"'appfwctl grant --in sshd_t {OURS}' keeps it"


@pytest.fixture(scope="module")
def _daemon() -> Iterator[Daemon]:
    """Have a daemon with one library."""
    with running_world() as world, running_daemon(world, NEXT) as made:
        yield made


def _over_ssh(daemon: Daemon, proc: Path, *arguments: str) -> Result:
    """Run appfwctl below a made-up sshd."""
    environment = {k: v for k, v in daemon.world.environment.items() if k != "SSH_CONNECTION"}
    return subprocess.run(
        [sys.executable, "-m", "tests.cli.over_ssh", str(proc), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        check=False,
    )


def test_the_whole_way(run: Run, daemon: Daemon) -> None:
    assert run("bridge", "observe").returncode == 0
    assert daemon.tell("record", texts=list(SEEN))
    fates = [line.split("\t")[6] for line in run("observed").stdout.splitlines()]
    assert fates == ["lost", "lost", "lost"]
    wanted = [line.split("\t") for line in run("observed", "--with-baseline").stdout.splitlines()]
    assert [line[6] for line in wanted] == ["passes", "lost", "passes"]
    assert run("observed", "--accept", "--with-baseline").stdout == (
        "granted: 1 of what was observed\n"
    )
    done = run("baseline", "on", "--for", "1h")
    assert (done.returncode, done.stderr) == (0, "")
    said, back = done.stdout.splitlines()
    assert said == "the baseline is on"
    assert back.endswith("unless you confirm with 'appfwctl confirm'")
    assert f"on trial: {back.removeprefix('it ')}" in run("status").stdout
    assert run("confirm").stdout == "confirmed: 1 change stays\n"
    done = run("bridge", "close", "--strict")
    assert (done.returncode, done.stderr) == (0, ""), "nothing is lost any more"
    assert daemon.state()["strict"]
    fates = [line.split("\t")[6] for line in run("observed").stdout.splitlines()]
    assert fates == ["passes", "granted", "passes"]
    assert run("observed", "--forget").stdout == "forgotten: 3 observed\n"
    done = run("baseline", "off")
    assert (done.returncode, done.stderr) == (0, ""), "nothing is known that would be lost"
    assert run("baseline").stdout == "off\n"


def test_who_loses_what_is_told_before_it_is_done(run: Run, daemon: Daemon) -> None:
    observe(daemon)
    done = run("bridge", "close")
    assert (done.returncode, done.stdout) == (0, "the bridge is closed\n")
    assert "Of what was observed, this would be lost:" in done.stderr
    lines = [line.split()[:3] for line in done.stderr.splitlines()[2:]]
    assert lines == [
        ["mozilla_t", "out", "10.0.0.80:443/tcp"],
        ["mozilla_t", "out", "10.0.0.81:8443/tcp"],
        ["sshd_t", "in", "10.0.0.9:22/tcp"],
    ]


@pytest.mark.parametrize(("answer", "status"), [("n\n", 1), ("y\n", 0)])
def test_a_person_is_asked(daemon: Daemon, answer: str, status: int) -> None:
    observe(daemon)
    left, _, errors = on_terminal(daemon, "bridge", "close", answer=answer)
    assert left == status
    assert "10.0.0.81:8443/tcp" in errors
    assert "Go on? [y/N]" in errors
    assert daemon.state()["settings"][0] == ("observed" if status else "closed")


def test_the_own_connection_is_not_cut_by_mistake(
    daemon: Daemon, root: Peer, tmp_path: Path
) -> None:
    proc = make(tmp_path, LOGIN)
    with daemon.unchanged():
        done = _over_ssh(daemon, proc, "bridge", "close")
    assert (done.returncode, done.stdout) == (1, "")
    assert OURS in done.stderr
    assert KEEPS in done.stderr
    assert "Use --for 60s" in done.stderr
    done = _over_ssh(daemon, proc, "baseline", "on")
    assert (done.returncode, done.stderr) == (0, ""), "sshd may serve ssh by policy"
    done = _over_ssh(daemon, proc, "bridge", "close")
    assert (done.returncode, done.stderr) == (0, "")
    with daemon.unchanged():
        done = _over_ssh(daemon, proc, "baseline", "off")
    assert done.returncode == 1
    root.call("Grant", "sshd_t", OURS, {"direction": "in"})
    assert _over_ssh(daemon, proc, "baseline", "off").returncode == 0


def test_with_for_it_is_cut_and_comes_back(daemon: Daemon, root: Peer, tmp_path: Path) -> None:
    root.watch("type='signal',sender='org.appfwd1'")
    done = _over_ssh(daemon, make(tmp_path, LOGIN), "--json", "bridge", "close", "--for", "1s")
    assert done.returncode == 0
    assert KEEPS in done.stderr
    assert abs(json.loads(done.stdout)["until"] - time.time()) < 5
    assert "bridge" in root.wait_signal("Reverted").body[0]
    assert daemon.state()["settings"][0] == "open"


def test_a_guard_on_trial_comes_and_goes(run: Run, daemon: Daemon, root: Peer) -> None:
    root.watch("type='signal',sender='org.appfwd1'")
    done = run("guard", "--for", "1s", "10.0.0.5")
    first, second = done.stdout.splitlines()
    assert first == "guarded: nobody reaches 10.0.0.5 but who is granted it"
    assert second.startswith("it goes back at ")
    root.wait_signal("Reverted")
    assert daemon.state()["members"] == []
    done = run("confirm")
    assert (done.returncode, done.stdout) == (4, "")
    assert "Nothing waits to be confirmed" in done.stderr


def test_the_baseline_is_shown_as_a_table(run: Run, daemon: Daemon) -> None:
    rows = [line.split("\t") for line in run("baseline", "show").stdout.splitlines()]
    assert ["tcp", "443", "out", "http_client_packet_t", "http_port_t", ""] in rows
    assert ["icmp", "0-65535", "in", "icmp_packet_t", "-", "the policy's default"] in rows
    status, shown, errors = on_terminal(daemon, "baseline", "show")
    assert (status, errors) == (0, "")
    first, header, *_ = shown.splitlines()
    assert first.startswith("The baseline is off")
    assert header.split() == ["PROTOCOL", "PORT", "DIRECTION", "LABEL", "PORT-TYPE", "NOTE"]


def test_who_and_types_tell_what_policy_lets(run: Run) -> None:
    assert run("baseline", "on").returncode == 0
    rows = [line.split("\t") for line in run("who", "--in", "any:22/tcp").stdout.splitlines()]
    through = "policy lets it use ssh_server_packet_t"
    assert ["sshd_t", "allowed", through, "ssh_server_packet_t"] in rows
    assert "mozilla_t" not in {row[0] for row in rows}
    rows = [line.split("\t") for line in run("types", "sshd_t").stdout.splitlines()]
    assert ["sshd_t", "ssh_server_packet_t", "recv,send", "policy", "yes", "-"] in rows
    assert run("types", "no_such_t").returncode == 3


def test_a_policy_without_packet_types_is_status_7(run: Run, daemon: Daemon) -> None:
    daemon.tell("repolicy", domains=["mozilla_t"], baseline=False)
    done = run("baseline", "on")
    assert (done.returncode, done.stdout) == (7, "")
    assert "no packet types of its own" in done.stderr
    shown = run("baseline", "show")
    assert shown.returncode == 0
    assert "no packet types of its own" in shown.stdout
