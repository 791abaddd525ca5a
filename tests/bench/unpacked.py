"""Programs of the guest on this machine, whose own may be too old.

They come out of the file system that the guest is made of, and are run by its loader.
"""

import subprocess
from pathlib import Path

from tests.guest.lab.cache import cache_directory
from tests.guest.lab.image import image

_LIBRARIES, _LOADER = "usr/lib/x86_64-linux-gnu", "ld-linux-x86-64.so.2"
PYTHON = ("usr/bin/python3.13", "usr/lib/python3.13/*", "usr/lib/python3/dist-packages/*")


def unpack(folder: Path, *names: str) -> None:
    """Put what of the guest has these names (or patterns), and all libraries, into a folder."""
    image()
    packed = max(
        cache_directory().glob("rootfs-*/rootfs.tar"), key=lambda file: file.stat().st_mtime
    )
    wanted = [f"./{name}" for name in (*names, f"{_LIBRARIES}/lib*.so*", f"{_LIBRARIES}/{_LOADER}")]
    subprocess.run(["tar", "-xf", packed, "-C", folder, "--wildcards", *wanted], check=True)


def words_of(folder: Path, program: str) -> list[str]:
    """Return the words that run a program that is unpacked there."""
    libraries = folder / _LIBRARIES
    return [
        *(str(libraries / _LOADER), "--library-path", str(libraries)),
        str(folder / program),
    ]
