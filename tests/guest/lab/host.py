"""The host's side of things: its tools, its package mirror, commands and progress lines."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .errors import LabError, MissingToolsError, StepError

# Program to Debian package; apt-packages.txt beside this folder names the same ones.
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mke2fs": "e2fsprogs",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "xz": "xz-utils",
    "zstd": "zstd",
    "setpriv": "util-linux",
}
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
OUTPUT_END = 3000


def tool(name: str) -> str:
    """Return the path of one of TOOLS; MissingToolsError if it isn't installed."""
    path = shutil.which(name, path=SYSTEM_PATH)
    if path is None:
        raise MissingToolsError(f"{name} is missing: apt-get install {TOOLS[name]}")
    return path


def check_tools() -> None:
    """Raise MissingToolsError, naming every missing package, unless all TOOLS are there."""
    missing = {
        package for name, package in TOOLS.items() if not shutil.which(name, path=SYSTEM_PATH)
    }
    if missing:
        raise MissingToolsError(f"missing: apt-get install {' '.join(sorted(missing))}")


def command(argv: Sequence[str | Path], *, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
    """Run a program to its end and return its output; StepError if it fails."""
    done = subprocess.run(
        [str(part) for part in argv], input=stdin, cwd=cwd, capture_output=True, check=False
    )
    if done.returncode:
        said = (done.stdout + done.stderr).decode("utf-8", "replace")[-OUTPUT_END:]
        raise StepError(f"{argv[0]} ended with {done.returncode}: {said}")
    return done.stdout


def say(text: str) -> None:
    """Print a progress line."""
    print(f"guest: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print a step's name as it starts, and its seconds as it ends."""
    say(f"{name} ...")
    start = time.monotonic()
    yield
    say(f"{name}: {time.monotonic() - start:.1f} s")


class Mirror(NamedTuple):
    """Where this host gets Debian packages from."""

    uri: str
    keyring: str


def debian_mirror() -> Mirror:
    """Return the mirror of this host's own apt configuration; LabError if there is none."""
    codename = _release_field("VERSION_CODENAME")
    form = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(SIGNED_BY)"
    listing = command(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])
    for line in listing.decode().splitlines():
        uri, release, component, keyring = line.split("\t")
        if release == codename and component == "main":
            # apt leaves the name in place when the field isn't set.
            return Mirror(uri, keyring if keyring.startswith("/") else "")
    raise LabError(f"apt has no repository of Debian {codename}, main")


def _release_field(name: str) -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == name:
            return value.strip('"')
    raise LabError(f"/etc/os-release lacks {name}")
