"""The agent with a real notification server on a virtual screen; its buttons are pressed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appfwd.agent.prompts import SETTLED
from tests.agent.session import agent
from tests.agent.test_prompts import HOST, granted, until
from tests.bus.peer import PATIENCE, Peer
from tests.bus.records import deny, refused
from tests.bus.running import Daemon
from tests.bus.world import ROOT

SERVER = "/usr/lib/x86_64-linux-gnu/xfce4/notifyd/xfce4-notifyd"
SCREEN = ROOT / "tests/desktop/screen.py"
TEN, ALWAYS, BLOCK, MORE = range(4)


class Desktop:
    """The screen, and what is on it."""

    def __init__(self, display: str, framebuffer: Path) -> None:
        self._words = [sys.executable, str(SCREEN), display, str(framebuffer)]

    def do(self, *words: str) -> str:
        if words[0] == "press":
            time.sleep(SETTLED + 0.1)
        done = subprocess.run([*self._words, *words], capture_output=True, text=True, check=True)
        return done.stdout

    def shown(self, count: int, buttons: int = 4) -> list[dict[str, Any]]:
        """Return the notifications, once so many have all of their buttons."""

        end = time.monotonic() + PATIENCE
        while True:
            rows: list[dict[str, Any]] = json.loads(self.do("shown"))
            if len(rows) == count and all(len(row["buttons"]) == buttons for row in rows):
                return rows
            assert time.monotonic() < end, rows
            time.sleep(0.02)


def wait(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def desktop(session: str, tmp_path: Path) -> Iterator[Desktop]:
    """Have a screen and the server, its settings and cache in a folder of their own."""
    reader, writer = os.pipe()
    words = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "800x480x24", "-nolisten", "tcp"]
    screen = subprocess.Popen(
        [*words, "-fbdir", str(tmp_path)], pass_fds=[writer], stderr=subprocess.DEVNULL
    )
    os.close(writer)
    with os.fdopen(reader) as told:
        display = ":" + told.readline().strip()
    environment = {
        **os.environ,
        "DISPLAY": display,
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={session}",
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "NO_AT_BRIDGE": "1",
    }
    server = subprocess.Popen(
        [SERVER], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with Peer(session) as peer:
            wait(lambda: peer.owned("org.freedesktop.Notifications"))
        yield Desktop(display, tmp_path / "Xvfb_screen0")
    finally:
        for process in (server, screen):
            process.kill()
            process.wait()


def test_a_pressed_button_is_the_answer(
    daemon: Daemon, session: str, desktop: Desktop, root: Peer, tmp_path: Path
) -> None:
    with agent(daemon, session):
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        desktop.shown(1)
        desktop.do("png", str(tmp_path / "screen.png"))
        assert (tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")
        desktop.do("press", "0", str(TEN))
        until(daemon, HOST)
        (row,) = root.call("List", {"kind": "grant"})
        assert row["ends"] > 0
        desktop.shown(0)


def test_pages_turn_and_block_blocks(
    daemon: Daemon, session: str, desktop: Desktop, root: Peer
) -> None:
    with agent(daemon, session):
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        desktop.shown(1)
        desktop.do("press", "0", str(MORE))
        desktop.shown(1, 5)
        desktop.do("press", "0", "4")
        desktop.shown(1)
        desktop.do("press", "0", str(BLOCK))
        wait(lambda: root.call("ListBlocked", {}))
        desktop.shown(0)
        assert HOST not in granted(daemon)


def test_a_click_on_the_text_dismisses_and_answers_nothing(
    daemon: Daemon, session: str, desktop: Desktop, root: Peer
) -> None:
    with agent(daemon, session):
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        desktop.shown(1)
        desktop.do("click", "0")
        desktop.shown(0)
        assert len(root.call("ListPending", {})) == 1
        assert HOST not in granted(daemon)


def test_it_times_out_and_stays_pending(
    daemon: Daemon, session: str, desktop: Desktop, root: Peer
) -> None:
    with agent(daemon, session, "--timeout", "1.5"):
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        desktop.shown(1)
        desktop.shown(0)
        assert len(root.call("ListPending", {})) == 1


def test_three_of_a_storm_are_on_the_screen(
    daemon: Daemon, session: str, desktop: Desktop, root: Peer
) -> None:
    with agent(daemon, session):
        deny(daemon, [refused("mozilla_t", f"10.1.0.{n}", 443) for n in range(200)])
        desktop.shown(3)
        assert len(root.call("ListPending", {})) == 32
