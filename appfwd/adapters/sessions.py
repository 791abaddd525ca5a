"""Login sessions, as logind has them (sd-login(3)), without asking it anything over the bus."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

from appfwd.model.ends import Session
from systemd import login  # type: ignore[import-untyped,unused-ignore]

#: Where logind keeps what libsystemd reads; whatever becomes of a session changes the folder.
_FOLDER = Path("/run/systemd/sessions")
#: The folder's time of change is that of a tick; what changed so lately may change again within it.
_TICK = 50_000_000
#: Logged out, with processes left behind: the person has gone.
_CLOSING = b"closing"


class LoginSessions:
    """Tells which sessions are open: not those that are closing.

    It takes systemd 254 or later, which tells when a session was opened; with an older one none is
    known.
    """

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._folder = folder
        self._changed = -1
        self._open: frozenset[Session] = frozenset()
        self._library: Any = ctypes.CDLL("libsystemd.so.0")
        self._c: Any = ctypes.CDLL(None)
        self._c.free.argtypes = [ctypes.c_void_p]

    def __call__(self) -> frozenset[Session]:
        """Return the sessions that are open now."""
        try:
            changed = self._folder.stat().st_mtime_ns
        except OSError:  # before logind's first start
            return frozenset()
        if changed != self._changed:
            self._open = self._read()
            settled = time.time_ns() - changed > _TICK
            self._changed = changed if settled else -1
        return self._open

    def _read(self) -> frozenset[Session]:
        if not hasattr(self._library, "sd_session_get_start_time"):
            return frozenset()
        try:
            names = login.sessions()
        except OSError:
            return frozenset()
        found = (self._session(name) for name in names)
        return frozenset(one for one in found if one is not None)

    def _session(self, name: str) -> Session | None:
        """Return a session; None where it is closing or has gone meanwhile."""
        text, opened, key = ctypes.c_void_p(), ctypes.c_uint64(), name.encode()
        if self._library.sd_session_get_state(key, ctypes.byref(text)) < 0:
            return None
        try:
            state = ctypes.string_at(text)
        finally:
            self._c.free(text)
        got = self._library.sd_session_get_start_time(key, ctypes.byref(opened))
        return None if got < 0 or state == _CLOSING else Session(name, opened.value)
