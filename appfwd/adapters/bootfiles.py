"""The files that a boot loads before the daemon is there (appfwd-boot.service).

The ruleset is the one that counts: without it the unit does nothing. So it is removed first and
written last. Names are looked up in the open folder, which nobody but root can write to, and no
link is followed.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from appfwd.errors import StoreFailed

T = TypeVar("T")

RULESET, BOOLEANS = "ruleset.json", "booleans"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StateFolderBootFiles:
    """Keeps the files in a folder; each is there whole or not at all."""

    def __init__(self, folder: Path = Path("/var/lib/appfwd/boot")) -> None:
        self._folder = folder
        # Two threads, so that a removal waits for no writing but for its last act.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="bootfiles")
        self._last_act = threading.Lock()
        self._writing = threading.Lock()
        #: That there is no ruleset, where that is known: nobody else writes.
        self._gone = False

    async def remove(self) -> None:
        """Remove the ruleset; it is off the disk when this returns.

        Raises:
            StoreFailed: it could not be removed.

        """
        # While change follows change there is nothing to remove, and no thread is waited for.
        if self._last_act.acquire(blocking=False):
            try:
                if self._gone:
                    return
            finally:
                self._last_act.release()
        await self._run(self._remove)

    async def write(
        self,
        ruleset: Sequence[Mapping[str, Any]],
        booleans: Mapping[str, bool],
        holds: Callable[[], bool],
    ) -> None:
        """Write both, unless they are there as they should be, or ``holds`` is false by then.

        Raises:
            StoreFailed: they could not be written; there is no ruleset then.

        """
        await self._run(lambda: self._write(ruleset, booleans, holds))

    async def _run(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            try:
                return work()
            except OSError as error:
                msg = f"The files for the next boot in {self._folder} cannot be used ({error})."
                raise StoreFailed(msg) from error

        return await asyncio.get_running_loop().run_in_executor(self._threads, guarded)

    def _remove(self) -> None:
        with self._last_act:
            if not self._gone:
                self._remove_ruleset()

    def _remove_ruleset(self) -> None:
        with suppress(FileNotFoundError), self._opened() as folder:
            with suppress(FileNotFoundError):
                os.unlink(RULESET, dir_fd=folder)
            # Also where it was not there: who removed it may have been killed before this.
            os.fsync(folder)
        self._gone = True

    def _write(
        self,
        ruleset: Sequence[Mapping[str, Any]],
        booleans: Mapping[str, bool],
        holds: Callable[[], bool],
    ) -> None:
        with self._writing:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._opened() as folder:
                if _is_there(folder, BOOLEANS, _lines(booleans)) and _is_there(
                    folder, RULESET, _document(ruleset)
                ):
                    return
                _prepare(folder, BOOLEANS, _lines(booleans))
                _prepare(folder, RULESET, _document(ruleset))
                with self._last_act:
                    # A ruleset never stands beside the booleans of another.
                    self._remove_ruleset()
                    if not holds():
                        return
                    _put(folder, BOOLEANS)
                    self._gone = False
                    _put(folder, RULESET)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        folder = os.open(self._folder, _FOLDER)
        try:
            yield folder
        finally:
            os.close(folder)


def _document(ruleset: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a document for ``nft -j -f``, one command a line."""
    yield b'{"nftables": [\n'
    for number, command in enumerate(ruleset):
        text = json.dumps(command, sort_keys=True, separators=(",", ":"))
        yield (",\n" if number else "").encode() + text.encode()
    yield b"\n]}\n"


def _lines(booleans: Mapping[str, bool]) -> Iterator[bytes]:
    """Yield one variable that has the arguments of setsebool(8)."""
    words = (f"{name}={value:d}" for name, value in sorted(booleans.items()))
    yield f"BOOLEANS={' '.join(words)}\n".encode("ascii")


def _is_there(folder: int, name: str, parts: Iterable[bytes]) -> bool:
    """Tell whether a file has just these parts, and nobody else may read it."""
    try:
        number = os.open(name, _READ, dir_fd=folder)
    except OSError:
        return False
    with os.fdopen(number, "rb") as file:
        found = os.fstat(number)
        if found.st_mode & 0o177 or found.st_uid != os.geteuid():
            return False
        return all(file.read(len(part)) == part for part in parts) and not file.read(1)


def _prepare(folder: int, name: str, parts: Iterable[bytes]) -> None:
    fresh = f"{name}.new"
    with suppress(FileNotFoundError):  # of a daemon that was killed
        os.unlink(fresh, dir_fd=folder)
    with os.fdopen(os.open(fresh, _NEW, 0o600, dir_fd=folder), "wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def _put(folder: int, name: str) -> None:
    os.rename(f"{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
