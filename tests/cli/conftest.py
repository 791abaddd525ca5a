"""The bus and the daemon on it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bus.fixtures import _daemon, daemon, nobody, own, root, world
from tests.bus.running import Daemon
from tests.bus.world import World
from tests.bus.world import world as running_world
from tests.cli.processes import LOGIN, make
from tests.cli.standin import StandIn

__all__ = ["_daemon", "daemon", "nobody", "own", "root", "world"]

Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]
MODULE = "appfwd.cli.main"


@pytest.fixture(scope="session")
def empty_bus() -> Iterator[World]:
    """Have a bus without a daemon."""
    with running_world() as made:
        yield made


@pytest.fixture
def standin(empty_bus: World, tmp_path: Path) -> Iterator[StandIn]:
    """Have a stand-in for the daemon; appfwctl runs below an sshd there."""
    with empty_bus.peer() as peer:
        yield StandIn(empty_bus, peer, make(tmp_path, LOGIN))


@pytest.fixture
def run(daemon: Daemon) -> Run:
    """Run appfwctl; standard input is no terminal where it is not given."""

    def runner(*arguments: str, uid: int = 0, **more: Any) -> Result:
        kept = {"stdin": subprocess.DEVNULL, **more}
        return daemon.run(daemon.program(MODULE, *arguments, uid=uid), **kept)

    return runner
