"""The cache: directories named by a hash of their ingredients, published whole or not at all."""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .host import say

DEFAULT_CACHE = "/var/cache/appfwd/guest"
# Of each kind so many are kept whatever their age, and at most so many when work is done on them.
KEEP_NEWEST = {"rootfs": 1, "image": 2, "snapshot": 4}
KEEP_MOST = {"rootfs": 2, "image": 6, "snapshot": 16}
KEEP_SECONDS = 3 * 24 * 3600
YOUNG_SECONDS = 1800
PARENT = "parent"
USE_LOCK = "in-use"


def cache_directory() -> Path:
    """Return the cache's directory, made if need be; $APPFWD_GUEST_CACHE moves it."""
    path = Path(os.environ.get("APPFWD_GUEST_CACHE") or DEFAULT_CACHE)
    path.mkdir(parents=True, exist_ok=True)
    return path


def content_key(*parts: str | bytes | Path) -> str:
    """Return a hash of texts and of files; a directory counts with all its files' names."""
    digest = hashlib.sha256()
    for part in parts:
        for piece in _pieces(part):
            digest.update(len(piece).to_bytes(8, "big") + piece)
    return digest.hexdigest()[:16]


def _pieces(part: str | bytes | Path) -> Iterator[bytes]:
    if isinstance(part, bytes):
        yield part
    elif isinstance(part, str):
        yield part.encode()
    elif part.is_dir():
        for file in sorted(part.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield str(file.relative_to(part)).encode()
                yield file.read_bytes()
    else:
        yield part.name.encode()
        yield part.read_bytes()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, waiting for other processes, which is said."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process: {path.name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def publish(kind: str, key: str, make: Callable[[Path], None], parent: Path | None = None) -> Path:
    """Return the directory `kind-key`, filled by `make` if it is not there yet.

    `make` works in a directory of another name, which gets its own when done; what it made may
    not hold its own path, therefore. A `parent` is kept for as long as the result is.
    """
    home = cache_directory()
    path = home / f"{kind}-{key}"
    locks = home / "locks"
    locks.mkdir(exist_ok=True)
    with locked(locks / path.name):
        if not path.is_dir():
            _prune(home, kind)
            draft = Path(tempfile.mkdtemp(prefix="draft-", dir=home))
            try:
                make(draft)
                (draft / USE_LOCK).touch()
                (draft / PARENT).write_text(parent.name if parent else "")
                draft.chmod(0o755)
                draft.rename(path)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        touch_chain(path)
    return path


def touch_chain(path: Path) -> None:
    """Note that an entry, and so those below it, are in use now."""
    while True:
        os.utime(path)
        name = (path / PARENT).read_text()
        if not name:
            return
        path = path.parent / name


def _prune(home: Path, kind: str) -> None:
    """Delete entries of a kind that are old, unused and nobody's parent; and broken drafts."""
    entries = sorted(home.glob(f"{kind}-*/"), key=_age)
    parents = {file.read_text() for file in home.glob(f"*/{PARENT}") if file.exists()}
    for number, entry in enumerate(entries[KEEP_NEWEST[kind] :], KEEP_NEWEST[kind]):
        limit = KEEP_SECONDS if number < KEEP_MOST[kind] else YOUNG_SECONDS
        if _age(entry) > limit and entry.name not in parents:
            _delete_unless_used(entry)
    for draft in home.glob("draft-*"):
        if _age(draft) > KEEP_SECONDS:
            shutil.rmtree(draft, ignore_errors=True)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        # Another process deleted it meanwhile.
        return 0


def _delete_unless_used(entry: Path) -> None:
    with suppress(BlockingIOError, FileNotFoundError), (entry / USE_LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        say(f"deleting {entry.name}, which is no longer used")
        # An entry half deleted must not be taken for a whole one.
        grave = Path(tempfile.mkdtemp(prefix="draft-", dir=entry.parent))
        entry.rename(grave / entry.name)
        shutil.rmtree(grave)
