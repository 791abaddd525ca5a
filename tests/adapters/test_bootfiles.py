"""The files of the next boot on a real file system: each whole or not there, and nobody else's."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from appfwd.adapters.bootfiles import BOOLEANS, RULESET, StateFolderBootFiles
from appfwd.errors import StoreFailed

ONE: list[dict[str, Any]] = [
    {"create": {"table": {"name": "x"}}},
    {"add": {"chain": {"name": "c"}}},
]


def write(files: StateFolderBootFiles, ruleset: Any = ONE, *, holds: bool = True) -> None:
    asyncio.run(files.write(ruleset, {"b": True, "a": False}, lambda: holds))


@pytest.fixture
def files(tmp_path: Path) -> StateFolderBootFiles:
    return StateFolderBootFiles(tmp_path / "boot")


def test_both_are_there_for_root_alone(files: StateFolderBootFiles, tmp_path: Path) -> None:
    write(files)
    folder = tmp_path / "boot"
    assert json.loads((folder / RULESET).read_bytes()) == {"nftables": ONE}
    assert (folder / BOOLEANS).read_bytes() == b"BOOLEANS=a=0 b=1\n"
    assert sorted(entry.name for entry in folder.iterdir()) == [BOOLEANS, RULESET]
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert (folder.stat().st_mode & 0o777, modes) == (0o700, {0o600})


def test_what_is_there_is_not_written_again(files: StateFolderBootFiles, tmp_path: Path) -> None:
    write(files)
    before = (tmp_path / "boot" / RULESET).stat()
    write(StateFolderBootFiles(tmp_path / "boot"))
    assert (tmp_path / "boot" / RULESET).stat().st_ino == before.st_ino
    write(files, ONE[:1])
    assert (tmp_path / "boot" / RULESET).stat().st_ino != before.st_ino


def test_it_is_gone_once_removed_and_stays_gone_where_it_does_not_hold(
    files: StateFolderBootFiles, tmp_path: Path
) -> None:
    write(files)
    for one in (files, StateFolderBootFiles(tmp_path / "boot")):
        asyncio.run(one.remove())
        assert not (tmp_path / "boot" / RULESET).exists()
    write(files, holds=False)
    assert not (tmp_path / "boot" / RULESET).exists()
    write(files)
    assert (tmp_path / "boot" / RULESET).exists()


def test_without_a_folder_there_is_nothing_to_remove(files: StateFolderBootFiles) -> None:
    asyncio.run(files.remove())


@pytest.mark.parametrize("name", [RULESET, BOOLEANS, f"{RULESET}.new", f"{BOOLEANS}.new"])
def test_no_link_is_followed(files: StateFolderBootFiles, tmp_path: Path, name: str) -> None:
    (tmp_path / "boot").mkdir()
    target = tmp_path / "target"
    target.write_text("untouched")
    (tmp_path / "boot" / name).symlink_to(target)
    write(files)
    assert target.read_text() == "untouched"
    assert not (tmp_path / "boot" / RULESET).is_symlink()
    asyncio.run(files.remove())
    assert target.read_text() == "untouched"


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "boot").symlink_to(tmp_path / "real")
    files = StateFolderBootFiles(tmp_path / "boot")
    with pytest.raises(StoreFailed, match="next boot"):
        write(files)
    with pytest.raises(StoreFailed, match="next boot"):
        asyncio.run(files.remove())


def test_where_it_cannot_be_written_whole_there_is_none(
    files: StateFolderBootFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(files)

    def full(_number: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFailed, match="No space left"):
        write(files, ONE[:1])
    # What was there is of the state before, and whoever changes the state removes it first.
    monkeypatch.undo()
    asyncio.run(files.remove())
    assert not (tmp_path / "boot" / RULESET).exists()
