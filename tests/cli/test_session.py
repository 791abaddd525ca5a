"""The caller's login session, from a made-up /proc; the guest has real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from appfwd.cli.session import own_session
from appfwd.errors import AppfwdError

UNSET = "4294967295"
SCOPE = "0::/user.slice/user-1000.slice/session-c2.scope\n"
OLD = "12:pids:/user.slice\n1:name=systemd:/user.slice/user-1000.slice/session-c2.scope/x\n0::/\n"
SERVICE = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-term.scope\n"


def _proc(folder: Path, cgroup: str | None, number: str | None) -> Path:
    (folder / "self").mkdir()
    for name, text in (("cgroup", cgroup), ("sessionid", number)):
        if text is not None:
            (folder / "self" / name).write_text(text, "ascii")
    return folder


@pytest.mark.parametrize(
    ("environment", "cgroup", "number", "session"),
    [
        ({"XDG_SESSION_ID": "7"}, SCOPE, "3", "7"),
        ({}, SCOPE, "3", "c2"),
        ({}, OLD, UNSET, "c2"),
        ({"XDG_SESSION_ID": ""}, SERVICE, "3\n", "3"),
        ({}, None, "3", "3"),
    ],
)
def test_it_is_told_by_environment_unit_and_kernel(
    tmp_path: Path, environment: dict[str, str], cgroup: str | None, number: str, session: str
) -> None:
    assert own_session(environment, _proc(tmp_path, cgroup, number)) == session


@pytest.mark.parametrize(("cgroup", "number"), [(SERVICE, UNSET), (None, None), ("0::/\n", "")])
def test_who_is_in_none_is_told_what_to_do(
    tmp_path: Path, cgroup: str | None, number: str | None
) -> None:
    with pytest.raises(AppfwdError, match="You are in no login session"):
        own_session({}, _proc(tmp_path, cgroup, number))
