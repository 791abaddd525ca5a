"""semodule's ways to fail, with a script in its place; the guest tier runs the real one."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from appfwd.adapters.semodule import Semodule
from appfwd.errors import Busy, PolicyLoadFailed

TEXT = "(type appfwd_x_packet_t)\n"
LOCKED = (
    "libsemanage.semanage_get_lock: Could not get direct transaction lock at "
    "/var/lib/selinux/default/semanage.trans.LOCK. (Resource temporarily unavailable)."
)
ABSENT = "libsemanage.semanage_direct_remove_key: Unable to remove module appfwd at priority 400."


class Script:
    """A program in semodule's place, and what it was run with."""

    def __init__(self, folder: Path) -> None:
        self.path, self.log, self.folder = folder / "semodule", folder / "log", folder

    def does(self, *lines: str) -> Script:
        """Have it do this after taking down its arguments and the module's text."""
        note = f'echo "$*" >> {self.log}; for last; do :; done; cp "$last" {self.folder}/seen 2>&-'
        self.path.write_text("\n".join(["#!/bin/sh", note, *lines]), "ascii")
        self.path.chmod(0o755)
        return self

    def runs(self) -> list[str]:
        """Return the arguments of each run."""
        return self.log.read_text("ascii").splitlines() if self.log.exists() else []

    def adapter(self, patience: float = 60.0) -> Semodule:
        """Return an adapter that runs it."""
        return Semodule(self.folder / "policy", self.folder, str(self.path), patience)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


def test_a_module_is_installed_at_our_priority_with_its_text(script: Script) -> None:
    asyncio.run(script.does("exit 0").adapter().install(TEXT))
    assert script.runs() == [f"-X 400 -i {script.folder}/policy/appfwd.cil"]
    assert (script.folder / "seen").read_text("ascii") == TEXT


def test_the_module_is_removed_at_our_priority(script: Script) -> None:
    asyncio.run(script.does("exit 0").adapter().remove())
    assert script.runs() == ["-X 400 -r appfwd"]


def test_removing_what_is_not_there_is_no_failure(script: Script) -> None:
    asyncio.run(script.does(f"echo '{ABSENT}' >&2", "exit 1").adapter().remove())
    assert len(script.runs()) == 1


def test_installing_is_a_failure_even_if_it_speaks_of_removing(script: Script) -> None:
    with pytest.raises(PolicyLoadFailed):
        asyncio.run(script.does(f"echo '{ABSENT}' >&2", "exit 1").adapter().install(TEXT))


def test_a_lock_that_is_let_go_is_waited_for(script: Script) -> None:
    count = f'[ "$(wc -l < {script.log})" -ge 3 ] && exit 0'
    asyncio.run(script.does(count, f"echo '{LOCKED}' >&2", "exit 1").adapter().install(TEXT))
    assert len(script.runs()) == 3


def test_a_lock_held_for_ever_is_busy(script: Script) -> None:
    adapter = script.does(f"echo '{LOCKED}' >&2", "exit 1").adapter(patience=0.0)
    with pytest.raises(Busy, match="Another program holds the SELinux module store"):
        asyncio.run(adapter.install(TEXT))
    assert script.runs()


@pytest.mark.parametrize("end", ["exit 1", "exit 255", "kill -9 $$"])
def test_a_failure_is_told_in_our_words_and_logged_in_its_own(
    script: Script, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    adapter = script.does("echo 'Failed to resolve typeattributeset' >&2", end).adapter()
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(PolicyLoadFailed, match="the old one is in force") as caught,
    ):
        asyncio.run(adapter.install(TEXT))
    assert "typeattributeset" not in str(caught.value)
    assert "Failed to resolve typeattributeset" in caplog.text
    assert len(script.runs()) == 1


def test_output_that_is_no_text_is_no_trouble(script: Script) -> None:
    with pytest.raises(PolicyLoadFailed):
        asyncio.run(script.does(r"printf '\377\376' >&2", "exit 1").adapter().install(TEXT))


def test_a_missing_program_is_told_with_its_package(script: Script) -> None:
    with pytest.raises(PolicyLoadFailed, match="install policycoreutils"):
        asyncio.run(script.adapter().install(TEXT))


def test_a_program_that_is_none_is_told(script: Script) -> None:
    script.path.write_text("")
    with pytest.raises(PolicyLoadFailed, match="cannot be run"):
        asyncio.run(script.adapter().remove())


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_run(script: Script) -> None:
    script.does("exit 0")
    (script.folder / "policy").write_text("a file in the folder's place")
    with pytest.raises(PolicyLoadFailed, match="could not be written"):
        asyncio.run(script.adapter().install(TEXT))
    assert script.runs() == []


def test_the_environment_is_ours(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LD_PRELOAD_X", "x")
    asyncio.run(script.does(f"env > {script.folder}/env").adapter().remove())
    seen = dict(
        line.split("=", 1)
        for line in (script.folder / "env").read_text().splitlines()
        if "=" in line
    )
    assert seen["LC_ALL"] == "C"
    assert "LD_PRELOAD_X" not in seen


def test_an_older_file_is_replaced_whole(script: Script) -> None:
    adapter = script.does("exit 0").adapter()
    asyncio.run(adapter.install(TEXT * 1000))
    asyncio.run(adapter.install(TEXT))
    folder = script.folder / "policy"
    assert [child.name for child in folder.iterdir()] == ["appfwd.cil"]
    assert (folder / "appfwd.cil").read_text("ascii") == TEXT
