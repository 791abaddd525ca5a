"""selinuxfs, from a folder that looks like it; the guest tier asks the kernel's own."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from appfwd.adapters import selinuxfs
from appfwd.adapters.selinuxfs import ProcHost, SelinuxFs
from appfwd.errors import PolicyLoadFailed, SelinuxDisabled
from appfwd.model.policy import KernelContexts
from appfwd.model.services import Interval


def _status(load: int) -> bytes:
    return struct.pack("=5I", 1, 4, 1, load, 0) + b"\0" * 4076


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a folder like /sys/fs/selinux, with the kernel's own endings of its files."""
    files: dict[str, bytes] = {
        "enforce": b"1",
        "status": _status(3),
        "initial_contexts/unlabeled": b"system_u:object_r:unlabeled_t:s0\0",
        "initial_contexts/kernel": b"system_u:system_r:kernel_t:s15:c0.c1023\0",
        "class/packet/index": b"62",
        "class/packet/perms/send": b"1",
        "class/packet/perms/recv": b"2",
        "class/packet/perms/relabelto": b"3",
        "own": b"system_u:system_r:appfwd_t:s0-s0:c0.c1023\0",
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(
        selinuxfs, "Path", lambda text: tmp_path / "own" if text.startswith("/proc") else Path(text)
    )
    return tmp_path


def test_contexts_are_taken_apart(root: Path) -> None:
    assert SelinuxFs(root).contexts() == KernelContexts(
        "system_u", "object_r", "s0", "unlabeled_t", "kernel_t", "appfwd_t"
    )


def test_a_level_may_have_colons(root: Path) -> None:
    (root / "initial_contexts/unlabeled").write_bytes(b"u:r:t:s0-s15:c0.c1023\0")
    contexts = SelinuxFs(root).contexts()
    assert contexts.level == "s0-s15:c0.c1023"
    assert contexts.packet_context("x_t") == "u:r:x_t:s0-s15:c0.c1023"


def test_a_policy_without_levels_has_none(root: Path) -> None:
    (root / "initial_contexts/unlabeled").write_bytes(b"u:r:unlabeled_t\0")
    contexts = SelinuxFs(root).contexts()
    assert contexts.level is None
    assert contexts.packet_context("x_t") == "u:r:x_t"


@pytest.mark.parametrize(("data", "enforcing"), [(b"1", True), (b"0", False), (b"1\n", True)])
def test_enforcing(root: Path, data: bytes, enforcing: bool) -> None:  # noqa: FBT001
    (root / "enforce").write_bytes(data)
    assert SelinuxFs(root).enforcing() is enforcing


def test_the_count_of_policy_loads_is_read_anew(root: Path) -> None:
    fs = SelinuxFs(root)
    assert fs.policy_load() == 3
    (root / "status").write_bytes(_status(4))
    assert fs.policy_load() == 4


def test_permissions_are_numbered_by_the_policy(root: Path) -> None:
    assert sorted(SelinuxFs(root)._permissions()) == [("recv", 2), ("relabelto", 4), ("send", 1)]


def test_a_type_that_policy_has_not_has_no_access(root: Path) -> None:
    (root / "access").symlink_to("/dev/full")  # refuses the query, as the kernel does
    assert SelinuxFs(root).access("a_t", "gone_t") == frozenset()


def booleans(root: Path, **values: str) -> Path:
    """Have booleans that read as (value, pending value), and return their folder."""
    folder = root / "booleans"
    folder.mkdir()
    for name, text in values.items():
        (folder / name).write_text(text)
    (root / "commit_pending_bools").write_text("")
    return folder


def test_booleans_are_committed_together(root: Path) -> None:
    folder = booleans(root, one="0 0", two="1 1", other="0 0")
    SelinuxFs(root).set_booleans({"one": True, "two": False})
    assert [(folder / name).read_text()[0] for name in ("one", "two", "other")] == ["1", "0", "0"]
    assert (root / "commit_pending_bools").read_text() == "1"


@pytest.mark.parametrize("missing", ["z_last", "a_first", "commit"])
def test_where_one_cannot_be_set_none_is_left_pending(root: Path, missing: str) -> None:
    folder = booleans(root, m_one="0 0", n_two="1 1")
    values = {"m_one": True, "n_two": False}
    if missing == "commit":
        (root / "commit_pending_bools").unlink()
    else:
        values[missing] = True
    with pytest.raises(PolicyLoadFailed, match="booleans of appfwd's slots"):
        SelinuxFs(root).set_booleans(values)
    # A file of these tests reads as what was written last, which the kernel's own does not.
    assert missing == "commit" or (root / "commit_pending_bools").read_text() == ""
    assert not (folder / missing).exists()


QUESTIONS = {
    "contexts": lambda fs: fs.contexts(),
    "enforcing": lambda fs: fs.enforcing(),
    "policy_load": lambda fs: fs.policy_load(),
    "access": lambda fs: fs.access("a_t", "b_t"),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_without_selinuxfs_selinux_is_off(tmp_path: Path, ask: object) -> None:
    assert callable(ask)
    with pytest.raises(SelinuxDisabled, match="SELinux is off on this machine"):
        ask(SelinuxFs(tmp_path / "selinux"))


def test_access_without_its_file_is_selinux_off(root: Path) -> None:
    with pytest.raises(SelinuxDisabled):
        SelinuxFs(root).access("a_t", "b_t")


def test_ephemeral_ports_are_read(tmp_path: Path) -> None:
    (tmp_path / "range").write_text("32768\t60999\n")
    assert ProcHost(tmp_path / "range").ephemeral_ports() == Interval(32768, 60999)


def test_ephemeral_ports_of_this_machine_are_ports() -> None:
    found = ProcHost().ephemeral_ports()
    assert 0 < found.first <= found.last <= 65535
