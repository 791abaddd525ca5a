"""The directory of a running guest: its sockets, logs and the disk of its own."""

import fcntl
import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from .cache import USE_LOCK, cache_directory
from .errors import LabError

OWN_LOCK = "lock"
# The kernel takes 107 bytes; the longest name in the directory is "agent".
SOCKET_PATH_LIMIT = 107
# What may lie between the making of a directory and of its lock.
YOUNG_SECONDS = 60.0


class RunDirectory:
    """A guest's directory; one whose process died is removed by a later process.

    Meanwhile the cache entry that the guest is started from can't be deleted.
    """

    def __init__(self, entry: Path) -> None:
        runs = cache_directory() / "run"
        runs.mkdir(exist_ok=True)
        _sweep(runs)
        self.path = Path(tempfile.mkdtemp(dir=runs, prefix=""))
        if len(str(self.path / "agent")) > SOCKET_PATH_LIMIT:
            raise LabError(f"the cache's path is too long for sockets: {runs}")
        self._locks = ExitStack()
        own = self._locks.enter_context((self.path / OWN_LOCK).open("w"))
        fcntl.flock(own, fcntl.LOCK_EX)
        used = self._locks.enter_context((entry / USE_LOCK).open())
        fcntl.flock(used, fcntl.LOCK_SH)

    def close(self) -> None:
        """Delete it, and let the cache entry go."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._locks.close()


def _sweep(runs: Path) -> None:
    for lock_file in runs.glob(f"*/{OWN_LOCK}"):
        try:
            if time.time() - lock_file.stat().st_mtime < YOUNG_SECONDS:
                continue
            with lock_file.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock_file.parent, ignore_errors=True)
        except (BlockingIOError, FileNotFoundError):
            # In use, or swept by another process.
            continue
