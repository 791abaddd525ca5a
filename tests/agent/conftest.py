"""The daemon on its bus, a session bus, and a notification server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.session import Server, session_bus
from tests.bus.fixtures import _daemon, daemon, own, root, world

__all__ = ["_daemon", "daemon", "own", "root", "world"]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[str]:
    """Have a session bus; the path of its socket."""
    with session_bus(tmp_path) as socket:
        yield socket


@pytest.fixture
def server(session: str) -> Iterator[Server]:
    """Have a notification server that does as it is told."""
    made = Server(session)
    yield made
    made.close()
