"""The service manager's side, with a real socket in its place."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appfwd.adapters import systemd

PATIENCE = 30.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(address)
        made.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield made


def test_the_library_of_the_service_manager_is_there() -> None:
    assert vars(systemd)["daemon"] is not None
    assert vars(systemd)["journal"] is not None


def test_what_is_notified_arrives(manager: socket.socket) -> None:
    systemd.notify("READY=1\nSTATUS=2 guards, 1 grants in force")
    assert manager.recv(4096) == b"READY=1\nSTATUS=2 guards, 1 grants in force"


def test_without_a_service_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify("READY=1")


def test_a_service_manager_that_is_gone_is_logged_and_no_error(
    manager: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    manager.close()
    systemd.notify("READY=1")
    assert "the service manager cannot be told" in caplog.text


def test_without_the_library_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "daemon", None)
    systemd.notify("READY=1")


def test_the_watchdog_is_kept_alive_again_and_again(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")

    async def three_times() -> list[bytes]:
        task = asyncio.create_task(systemd.watchdog())
        heard = [await asyncio.to_thread(manager.recv, 4096) for _ in range(3)]
        task.cancel()
        return heard

    assert asyncio.run(three_times()) == [b"WATCHDOG=1"] * 3


def test_without_a_watchdog_none_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    asyncio.run(systemd.watchdog())


@pytest.mark.parametrize(("verbose", "lines"), [(False, 1), (True, 2)])
def test_outside_of_the_journal_the_log_is_on_standard_error(verbose: bool, lines: int) -> None:  # noqa: FBT001
    code = (
        "import logging; from appfwd.adapters.systemd import start_logging; "
        f"start_logging(verbose={verbose}); log = logging.getLogger('appfwd.x'); "
        "log.info('one'); log.debug('two')"
    )
    environment = {key: value for key, value in os.environ.items() if key != "JOURNAL_STREAM"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=ROOT,
    )
    said = ["INFO appfwd.x: one", "DEBUG appfwd.x: two"]
    assert done.stderr.splitlines() == said[:lines]
