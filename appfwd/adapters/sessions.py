"""Login sessions, as logind has them (sd-login(3)), without asking it anything over the bus."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appfwd.model.ends import Session
from systemd import login  # type: ignore[import-untyped,unused-ignore]

log = logging.getLogger(__name__)

#: Where logind keeps what libsystemd reads; whatever becomes of a session changes the folder.
_FOLDER = Path("/run/systemd/sessions")
#: The folder's time of change is that of a tick; what changed so lately may change again within it.
_TICK = 50_000_000
#: Logged out, with processes left behind: the person has gone.
_CLOSING = "closing"
#: Sessions of a user's service manager, which may outlast the person's.
_MANAGER = "manager"


class LoginSessions:
    """Tells which sessions are open: not those that are closing.

    It takes systemd 254 or later, which tells when a session was opened; with an older one none is
    known.
    """

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._folder = folder
        #: When the folder changed, and what was read then; together, since threads ask too.
        self._seen: tuple[int, frozenset[Session]] = (-1, frozenset())
        self._library: Any = ctypes.CDLL("libsystemd.so.0")
        self._c: Any = ctypes.CDLL(None)
        self._c.free.argtypes = [ctypes.c_void_p]

    def __call__(self) -> frozenset[Session]:
        """Return the sessions that are open now."""
        try:
            changed = self._folder.stat().st_mtime_ns
        except OSError:  # before logind's first start
            return frozenset()
        before, found = self._seen
        if changed != before:
            settled = time.time_ns() - changed > _TICK
            found = self._read(found)
            self._seen = (changed if settled else -1, found)
        return found

    def _read(self, before: frozenset[Session]) -> frozenset[Session]:
        if not hasattr(self._library, "sd_session_get_start_time"):
            return frozenset()
        try:
            names = login.sessions()
        except OSError:  # no file descriptor is left, say: nobody has logged out by that
            return before
        found = (self._session(name) for name in names)
        return frozenset(one for one in found if one is not None)

    def _session(self, name: str) -> Session | None:
        """Return a session; None where it is closing, no person's, or has gone meanwhile."""
        state = self._text("state", name)
        kind = self._text("class", name)
        opened = ctypes.c_uint64()
        got = self._library.sd_session_get_start_time(name.encode(), ctypes.byref(opened))
        if got < 0 or state in ("", _CLOSING) or kind.startswith(_MANAGER):
            return None
        return Session(name, opened.value)

    def _text(self, what: str, name: str) -> str:
        """Return the state or the class of a session; empty where it has gone."""
        text = ctypes.c_void_p()
        ask = getattr(self._library, f"sd_session_get_{what}")
        if ask(name.encode(), ctypes.byref(text)) < 0:
            return ""
        try:
            return ctypes.string_at(text).decode("ascii", "replace")
        finally:
            self._c.free(text)


def active_users() -> frozenset[int]:
    """Return the users whose session is the active one of a seat: they are at the machine."""
    try:
        seats = login.seats()
    except OSError:  # no logind
        return frozenset()
    library: Any = ctypes.CDLL("libsystemd.so.0")
    found = set()
    for seat in seats:
        user = ctypes.c_uint32()
        if library.sd_seat_get_active(seat.encode(), None, ctypes.byref(user)) >= 0:
            found.add(user.value)
    return frozenset(found)


def session_announcements(changed: Callable[[], None]) -> None:
    """Call ``changed`` on the event loop whenever another session may have become active.

    Without logind nobody says so, and no session is.
    """
    try:
        monitor = login.Monitor("seat")
    except OSError as error:
        log.warning("who is at the machine is not known: %s", error.strerror)
        return

    def read() -> None:
        monitor.flush()
        changed()

    asyncio.get_running_loop().add_reader(monitor.fileno(), read)
