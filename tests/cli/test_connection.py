"""The caller's own connection over ssh, as found from the environment and the processes above."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from appfwd.cli.connection import Connection, own_connection
from appfwd.model.destination import Direction, parse_destination
from tests.bus.world import ROOT
from tests.cli.processes import LOGIN, SELF, SHELL, SSHD, TOLD, Process, make

OURS = Connection("sshd_t", "192.0.2.7:22/tcp")
#: The processes above a program that sshd started itself.
DIRECT = (Process("sshd", SSHD), Process("systemd"))


def _found(proc: Path, told: str | None = None) -> Connection | None:
    return own_connection({} if told is None else {"SSH_CONNECTION": told}, proc, SELF)


def test_it_is_found_from_the_environment(tmp_path: Path) -> None:
    assert _found(make(tmp_path, DIRECT), TOLD) == OURS


def test_where_sudo_took_it_out_it_is_found_in_that_of_a_process_above(tmp_path: Path) -> None:
    assert _found(make(tmp_path, LOGIN)) == OURS


def test_the_nearest_environment_and_the_nearest_sshd_count(tmp_path: Path) -> None:
    outer = replace(SHELL, environment={"SSH_CONNECTION": "203.0.113.9 1 192.0.2.1 2222"})
    inner = Process("sshd", "system_u:system_r:other_sshd_t:s0")
    assert _found(make(tmp_path, (SHELL, inner, outer, *DIRECT))) == replace(
        OURS, domain="other_sshd_t"
    )


def test_an_environment_further_up_does_not_count(tmp_path: Path) -> None:
    older = replace(SHELL, environment={"SSH_CONNECTION": "203.0.113.9 1 192.0.2.1 2222"})
    proc = make(tmp_path, (SHELL, older, *DIRECT))
    assert _found(proc) == OURS
    assert _found(proc, "198.51.100.1 1 192.0.2.1 22") == replace(
        OURS, destination="198.51.100.1:22/tcp"
    )


def test_what_sshd_itself_was_started_with_is_not_ours(tmp_path: Path) -> None:
    assert _found(make(tmp_path, (replace(SHELL, name="sshd", context=SSHD),))) is None


@pytest.mark.parametrize("name", ["sshd", "sshd-session", "sshd-auth"])
def test_every_process_of_openssh_counts(tmp_path: Path, name: str) -> None:
    assert _found(make(tmp_path, (Process(name, SSHD),)), TOLD) == OURS


@pytest.mark.parametrize("name", ["tmux: server", "login", "my-sshd", "ssh"])
def test_without_an_sshd_above_there_is_none(tmp_path: Path, name: str) -> None:
    assert _found(make(tmp_path, (SHELL, Process(name, SSHD))), TOLD) is None


def test_without_a_connection_there_is_none(tmp_path: Path) -> None:
    assert _found(make(tmp_path, DIRECT)) is None


TOLDS = {
    "2001:db8::7 50022 2001:db8::1 22": "[2001:db8::7]:22/tcp",
    "2001:DB8:0:0::7 50022 2001:db8::1 2222": "[2001:db8::7]:2222/tcp",
    "fe80::1%eth0 50022 fe80::2%eth0 22": "[fe80::1]:22/tcp",
    "::ffff:192.0.2.7 50022 ::ffff:192.0.2.1 22": "192.0.2.7:22/tcp",
    "127.0.0.1 50022 127.0.0.1 65535": "127.0.0.1:65535/tcp",
}


@pytest.mark.parametrize(("told", "destination"), TOLDS.items())
def test_it_is_a_destination_that_the_daemon_takes(
    tmp_path: Path, told: str, destination: str
) -> None:
    found = _found(make(tmp_path, DIRECT), told)
    assert found == Connection("sshd_t", destination)
    assert str(parse_destination(found.destination, Direction.IN)) == destination


NONSENSE = [
    *("", " ", "UNKNOWN 65535 UNKNOWN 65535", "192.0.2.7 50022 192.0.2.1", f"{TOLD} 1"),
    *("192.0.2.7 50022 192.0.2.1 0", "192.0.2.7 50022 192.0.2.1 65536", "192.0.2.7 1 192.0.2.1 -1"),
    *("192.0.2.7 1 192.0.2.1 2\u06622", "192.0.2.7 1 192.0.2.1 22\n", "192.0.2.7/8 1 192.0.2.1 22"),
    *("any 1 any 22", "[::1] 1 ::1 22", "localhost 1 localhost 22", "192.0.2.7  1 192.0.2.1 22"),
    *("192.0.2.07 1 192.0.2.1 22", "\ufffd 1 x 22", "9" * 5000 + " 1 192.0.2.1 22"),
]


@pytest.mark.parametrize("told", NONSENSE, ids=lambda told: ascii(told[:30]))
def test_anything_else_is_none(tmp_path: Path, told: str) -> None:
    assert _found(make(tmp_path, DIRECT), told) is None


@pytest.mark.parametrize("context", ["", "unconfined", "docker-default (enforce)", "a:b"])
def test_without_selinux_there_is_none(tmp_path: Path, context: str) -> None:
    assert _found(make(tmp_path, (Process("sshd", context),)), TOLD) is None


def test_a_context_without_a_range_has_its_type(tmp_path: Path) -> None:
    proc = make(tmp_path, (Process("sshd", "system_u:system_r:sshd_t"),))
    assert _found(proc, TOLD) == OURS


def test_what_may_not_be_read_is_passed_over(tmp_path: Path) -> None:
    proc = make(tmp_path, LOGIN)
    for process in proc.iterdir():
        (process / "environ").unlink(missing_ok=True)
    assert _found(proc) is None
    assert _found(proc, TOLD) == OURS


def test_a_process_that_ended_ends_the_search(tmp_path: Path) -> None:
    proc = make(tmp_path, LOGIN)
    (proc / str(SELF) / "status").unlink()
    assert _found(proc, TOLD) is None
    assert _found(tmp_path / "nowhere", TOLD) is None


def test_processes_that_never_end_do_not_hold_us(tmp_path: Path) -> None:
    proc = make(tmp_path, (Process("a"), Process("b")))
    (proc / "1" / "status").write_text(f"PPid:\t{SELF}\n")
    assert _found(proc, TOLD) is None


_LOOK = """
import json, os
from appfwd.cli import connection
above = list(connection._ancestors(connection.PROC, os.getpid()))
print(json.dumps([[connection._name(one), connection._told(one)] for one in above]))
"""


def test_the_real_proc_is_read_the_same(tmp_path: Path) -> None:
    (tmp_path / "sshd-session").symlink_to("/bin/sh")
    look = f'env -u SSH_CONNECTION "{sys.executable}" -c "$LOOK"; true'
    inner = f"sh -c '{look}; true'"
    done = subprocess.run(
        [str(tmp_path / "sshd-session"), "-c", f"SSH_CONNECTION='{TOLD}' {inner}; true"],
        env={"PATH": os.environ["PATH"], "LOOK": _LOOK},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    shell, sshd, *_ = json.loads(done.stdout)
    assert shell == ["sh", TOLD]
    assert sshd == ["sshd-session", None]
