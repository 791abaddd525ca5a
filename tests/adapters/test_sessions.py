"""Login sessions: read anew when the folder changes, never those that are closing.

logind itself is in the guest (tests/guest/test_sessions.py); here is a stand-in for libsystemd.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from appfwd.adapters.sessions import LoginSessions
from appfwd.model.ends import Session

STATES = {
    "1": ("active", 10),
    "c2": ("online", 20),
    "3": ("closing", 30),
    "9": ("active", 40),  # of a user's service manager
}


class Library:
    """Gives states and times; what is in neither has gone meanwhile."""

    def __init__(self) -> None:
        self.states = dict(STATES)
        self.read = 0
        self._c = ctypes.CDLL(None)
        self._c.strdup.restype = ctypes.c_void_p

    def sd_session_get_state(self, key: bytes, text: Any) -> int:
        self.read += 1
        if key.decode() not in self.states:
            return -6
        text._obj.value = self._c.strdup(self.states[key.decode()][0].encode())
        return 0

    def sd_session_get_class(self, key: bytes, text: Any) -> int:
        kind = b"manager" if key == b"9" else b"user"
        text._obj.value = self._c.strdup(kind)
        return 0

    def sd_session_get_start_time(self, key: bytes, opened: Any) -> int:
        if key.decode() not in self.states:
            return -6
        opened._obj.value = self.states[key.decode()][1]
        return 0


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setattr("systemd.login.sessions", lambda: [*made.states, "gone"])
    return made


def _of(folder: Path, library: Any) -> LoginSessions:
    made = LoginSessions(folder)
    made._library = library
    return made


def _settle(folder: Path) -> None:
    """Have the folder as it is when nothing changed for a while."""
    os.utime(folder, (1e9, 1e9))


def test_open_sessions_have_their_id_and_when_they_were_opened(
    tmp_path: Path, library: Library
) -> None:
    assert _of(tmp_path, library)() == {Session("1", 10), Session("c2", 20)}


def test_they_are_read_again_when_the_folder_changed(tmp_path: Path, library: Library) -> None:
    sessions = _of(tmp_path, library)
    _settle(tmp_path)
    first, read = sessions(), library.read
    assert sessions() == first
    assert library.read == read
    library.states["c2"] = ("closing", 20)
    (tmp_path / "c2").touch()
    assert sessions() == {Session("1", 10)}


def test_what_changed_just_now_is_read_again(tmp_path: Path, library: Library) -> None:
    """Two changes within a tick of the clock leave the folder with the same time."""
    sessions = _of(tmp_path, library)
    (tmp_path / "x").touch()
    changed = tmp_path.stat().st_mtime_ns
    assert len(sessions()) == 2
    del library.states["1"]
    os.utime(tmp_path, ns=(changed, changed))
    assert sessions() == {Session("c2", 20)}


def test_where_they_cannot_be_read_nobody_has_logged_out(
    tmp_path: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> list[str]:
        raise OSError(24, "Too many open files")

    sessions = _of(tmp_path, library)
    first = sessions()
    monkeypatch.setattr("systemd.login.sessions", fails)
    (tmp_path / "x").touch()
    assert sessions() == first != frozenset()


def test_before_logind_there_are_none(tmp_path: Path, library: Library) -> None:
    assert _of(tmp_path / "absent", library)() == frozenset()


def test_an_older_systemd_knows_none(tmp_path: Path, library: Library) -> None:
    class Older:
        sd_session_get_state = library.sd_session_get_state

    assert _of(tmp_path, Older())() == frozenset()


def test_the_real_library_answers() -> None:
    assert all(session.opened > 0 for session in LoginSessions()())
