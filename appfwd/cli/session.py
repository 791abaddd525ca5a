"""The login session that the caller is in, for ``grant --session``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from appfwd.errors import AppfwdError

PROC = Path("/proc")
_VARIABLE = "XDG_SESSION_ID"
#: The unit of a session's processes, which sudo(8) does not leave.
_SCOPE = re.compile(r"/session-([A-Za-z0-9]+)\.scope(?:/|$)", re.MULTILINE)
_ID = re.compile(r"[A-Za-z0-9]{1,64}")
#: What the kernel says where there is no session of login's (audit_session_info, kernel/audit.h).
_UNSET = str(2**32 - 1)


def own_session(environment: Mapping[str, str] = os.environ, proc: Path = PROC) -> str:
    """Return the id of the caller's login session.

    The environment tells it; where sudo(8) took that away the unit does, and for programs of the
    session's own service manager, which have neither, the session id that the kernel keeps.

    Raises:
        AppfwdError: there is none, or none can be found.

    """
    scope = _SCOPE.search(_read(proc / "self/cgroup"))
    kept = _read(proc / "self/sessionid").strip()
    found = environment.get(_VARIABLE) or (scope[1] if scope else kept)
    if found == _UNSET or not _ID.fullmatch(found):
        msg = (
            "You are in no login session, as far as can be told. Set XDG_SESSION_ID to the id of "
            "the one that is meant ('loginctl' lists them)."
        )
        raise AppfwdError(msg)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
