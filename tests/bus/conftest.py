"""The bus and the daemon on it."""

from tests.bus.fixtures import _daemon, daemon, nobody, own, root, watcher, world

__all__ = ["_daemon", "daemon", "nobody", "own", "root", "watcher", "world"]
