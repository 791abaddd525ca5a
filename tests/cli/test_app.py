"""--app: the domain that a program starts in, with a made-up kernel; the guest has a real one."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from appfwd.cli import program as module
from appfwd.cli.parser import parse
from appfwd.cli.program import Start, name_domain, start_of
from appfwd.errors import AppfwdError, InvalidArgument, SelinuxDisabled

USER, INIT = "user_u:user_r:user_t:s0", "system_u:system_r:init_t:s0"
#: Who starts what with which label, and where that leads.
POLICY = {
    ("user_t", "mozilla_exec_t"): "user_u:user_r:mozilla_t:s0",
    ("init_t", "mozilla_exec_t"): "system_u:system_r:mozilla_t:s0",
    ("init_t", "httpd_exec_t"): "system_u:system_r:httpd_t:s0-s0:c0.c1023",
    ("init_t", "bin_t"): "system_u:system_r:initrc_t:s0",
}


class Machine:
    """A program with a label, who runs it, and what policy says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fs, self.proc, self.program = folder / "fs", folder / "proc", folder / "program"
        self.program.write_text("#!/bin/sh\n", "ascii")
        self.program.chmod(0o755)
        self.label: bytes | OSError = b"system_u:object_r:mozilla_exec_t:s0\0"
        self.asked: list[str] = []
        self.flags = 0
        for who, context in (("self", USER), ("1", INIT)):
            (self.proc / who / "attr").mkdir(parents=True)
            (self.proc / who / "attr" / "current").write_text(context + "\0", "ascii")
        (self.fs / "class/process").mkdir(parents=True)
        (self.fs / "class/process/index").write_text("2", "ascii")
        (self.fs / "create").touch()
        monkeypatch.setattr(os, "getxattr", self._xattr)
        monkeypatch.setattr(os, "statvfs", lambda _path: argparse.Namespace(f_flag=self.flags))
        monkeypatch.setattr(module, "_created", self._created)

    def _xattr(self, path: Path, name: str) -> bytes:
        assert (path, name) == (self.program, "security.selinux")
        if isinstance(self.label, OSError):
            raise self.label
        return self.label

    def _created(self, starter: str, label: str, fs: Path) -> str:
        assert fs == self.fs
        self.asked.append(starter)
        return POLICY.get((starter.split(":")[2], label.split(":")[2]), starter)

    def start(self) -> Start:
        return start_of(str(self.program), self.fs, self.proc)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_a_program_of_a_session_starts_from_the_callers_domain(machine: Machine) -> None:
    start = machine.start()
    assert (start.domain, start.starter, start.own) == ("mozilla_t", "user_t", True)
    assert start.text() == f"{machine.program} starts in mozilla_t (from user_t)."
    assert set(machine.asked) == {USER}


def test_a_service_starts_from_the_domain_of_init(machine: Machine) -> None:
    machine.label = b"system_u:object_r:httpd_exec_t:s0"
    start = machine.start()
    assert (start.domain, start.starter, start.own) == ("httpd_t", "init_t", True)


@pytest.mark.parametrize("flags", [0, os.ST_NOSUID], ids=["bin_t", "nosuid"])
def test_what_has_no_domain_of_its_own_is_told(machine: Machine, flags: int) -> None:
    """On a mount without setuid nobody changes domain, whatever the label."""
    machine.flags = flags
    if not flags:
        machine.label = b"system_u:object_r:bin_t:s0"
    start = machine.start()
    assert (start.domain, start.starter, start.own) == ("user_t", "user_t", False)
    assert "Policy has no domain for" in start.text()
    assert "runs in user_t, like all else there" in start.text()


def test_a_name_is_looked_up_and_links_are_followed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/firefox").symlink_to(machine.program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert start_of("firefox", machine.fs, machine.proc).program == str(machine.program)


@pytest.mark.parametrize("name", ["no-such-program", "/nowhere/at/all", ".", "", "a\x1bb"])
def test_what_is_no_program_is_told(machine: Machine, name: str) -> None:
    with pytest.raises(InvalidArgument, match="There is no program") as caught:
        start_of(name, machine.fs, machine.proc)
    assert str(caught.value).isprintable()


def test_without_selinux_it_is_told(machine: Machine) -> None:
    (machine.fs / "create").unlink()
    with pytest.raises(SelinuxDisabled):
        machine.start()


@pytest.mark.parametrize("label", [OSError(95, "Operation not supported"), b"\xff"])
def test_a_file_without_a_label_is_told(machine: Machine, label: bytes | OSError) -> None:
    machine.label = label
    with pytest.raises(AppfwdError, match=r"cannot be read .* name the domain"):
        machine.start()


def test_a_policy_that_may_not_be_asked_is_told(tmp_path: Path) -> None:
    with pytest.raises(AppfwdError, match="cannot be asked where the program starts"):
        module._created(USER, "system_u:object_r:bin_t:s0", tmp_path)


START: Mapping[bool, Start] = {
    own: Start("/usr/bin/x", "x_t" if own else "user_t", "user_t", own) for own in (True, False)
}


@pytest.fixture(params=[True, False], ids=["own", "shared"])
def own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(module, "start_of", lambda _name: START[request.param])
    return bool(request.param)


def test_the_domain_stands_where_the_program_was(
    own: bool,  # noqa: FBT001
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (("revoke",), ("explain",), ("plan", "grant"), ("grant", "--yes")):
        arguments = parse([*words, "--app", "/usr/bin/x", "any:443"])
        asyncio.run(name_domain(arguments))
        assert getattr(arguments, "planned", arguments).domain == START[own].domain
        assert capsys.readouterr().err == f"{START[own].text()}\n"


def test_a_grant_to_a_shared_domain_is_not_made_where_nobody_agrees(own: bool) -> None:  # noqa: FBT001
    arguments = parse(["grant", "--app", "/usr/bin/x", "any:443"])
    if own:
        asyncio.run(name_domain(arguments))
        return
    with pytest.raises(AppfwdError, match=r"Nothing was done\. With --yes it is granted to user_t"):
        asyncio.run(name_domain(arguments))


def test_without_app_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "start_of", lambda _name: pytest.fail("asked"))
    for words in (("grant", "a_t", "any:1"), ("list",), ("plan", "up")):
        asyncio.run(name_domain(parse(words)))
