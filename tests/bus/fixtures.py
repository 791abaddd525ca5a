"""Fixtures of the tests that need a bus; a conftest takes them by name."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.bus.peer import Peer
from tests.bus.running import LIBRARIES, Daemon, afresh
from tests.bus.running import daemon as running_daemon
from tests.bus.world import World
from tests.bus.world import world as running_world

NOBODY = 65534
#: The match rule of the daemon's signals.
OURS = "type='signal',sender='org.appfwd1'"


@pytest.fixture(scope="session", params=LIBRARIES)
def _daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """Have one bus and one daemon for each library."""
    with running_world() as world, running_daemon(world, request.param) as made:
        yield made


@pytest.fixture
def daemon(_daemon: Daemon) -> Iterator[Daemon]:
    """Have the daemon in its first state."""
    with afresh(_daemon) as made:
        yield made


@pytest.fixture
def world(daemon: Daemon) -> World:
    """Return the daemon's bus."""
    return daemon.world


@pytest.fixture
def root(daemon: Daemon) -> Iterator[Peer]:
    """Have a connection of root."""
    with daemon.peer() as peer:
        yield peer


@pytest.fixture
def nobody(daemon: Daemon) -> Iterator[Peer]:
    """Have a connection of a user whom no rule lets do anything."""
    with daemon.peer(NOBODY) as peer:
        yield peer


@pytest.fixture
def watcher(daemon: Daemon) -> Iterator[Peer]:
    """Have a connection that hears the daemon's signals."""
    with daemon.peer() as peer:
        peer.watch(OURS)
        yield peer


@pytest.fixture(params=LIBRARIES)
def own(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """Have a bus and a daemon that may be broken."""
    with running_world() as world:
        made = Daemon(world, request.param)
        made.start()
        yield made
        if made.running:
            made.stop(signal.SIGKILL)
