"""A private system bus with polkit: real dbus-daemon, real polkitd, our files as shipped.

Both live in mount and network namespaces of their own, so nothing of the machine is touched:
polkit's folders there hold our actions and the rules of these tests, and nothing else, and the
accounts that these rules name are added to those of the machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.bus.peer import Peer

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
POLKIT = "org.freedesktop.PolicyKit1"
_SYSTEM_CONF = Path("/usr/share/dbus-1/system.conf")
_POLKIT_CONF = Path("/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf")
_HEADER = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
"""
#: What of the distribution's bus configuration concerns its place on the machine.
_PLACE = (
    "listen",
    "user",
    "fork",
    "pidfile",
    "syslog",
    "servicehelper",
    "standard_system_servicedirs",
    "include",
    "includedir",
)
_RULES = HERE / "appfwd.rules"
#: The action that each account of the rules may do.
ALLOWED = dict(re.findall(r'"([a-z-]+)": "(org\.appfwd1\.[a-z-]+)"', _RULES.read_text("ascii")))
#: Their uids: beyond those of services and of people.
ACCOUNTS = {name: 61_001 + number for number, name in enumerate(ALLOWED)}
_MOUNTS = """
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/seats /run/systemd/sessions /run/systemd/users /run/systemd/machines
mount -t tmpfs none /etc/polkit-1
mount -t tmpfs none /usr/share/polkit-1
mkdir -m 755 /etc/polkit-1/rules.d /usr/share/polkit-1/rules.d /usr/share/polkit-1/actions
cp "$1" /usr/share/polkit-1/actions/
cp "$2" /etc/polkit-1/rules.d/
chmod 644 /usr/share/polkit-1/actions/* /etc/polkit-1/rules.d/*
mount --bind "$4" /etc/passwd
exec dbus-daemon --nofork --print-address=1 --config-file="$3"
"""


class World:
    """The bus: where its socket is, and programs started inside or beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = str(folder / "bus")
        self._polkitd: subprocess.Popen[bytes] | None = None
        configuration = _bus_configuration(folder)
        script = ("sh", "-c", _MOUNTS, "sh")
        policy = ROOT / "dbus/org.appfwd1.policy"
        files = (policy, _RULES, configuration, _accounts(folder))
        with (folder / "bus.log").open("wb") as log:
            self._bus = subprocess.Popen(
                ["unshare", "-mn", "--propagation", "private", *script, *map(str, files)],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
            )
        assert self._bus.stdout is not None
        assert self._bus.stdout.readline(), "dbus-daemon did not start"

    @property
    def environment(self) -> dict[str, str]:
        """What programs need to find this bus."""
        return {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.socket}"}

    def peer(self, uid: int = 0) -> Peer:
        """Return a new connection of a user."""
        return Peer(self.socket, uid)

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return ``command`` such that it runs in the bus's namespaces."""
        return ["nsenter", "-t", str(self._bus.pid), "-m", "-n", *command]

    def start_polkit(self) -> None:
        """Start polkitd; return when it has its name."""
        with self.peer() as watcher:
            watcher.watch(f"type='signal',member='NameOwnerChanged',arg0='{POLKIT}'")
            self._polkitd = subprocess.Popen(
                self.inside(_polkitd()),
                env=self.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
            )
            assert watcher.wait_signal("NameOwnerChanged").body[2]

    def stop_polkit(self) -> None:
        """End polkitd; return when its name is free."""
        assert self._polkitd is not None
        with self.peer() as watcher:
            watcher.watch(f"type='signal',member='NameOwnerChanged',arg0='{POLKIT}'")
            _end(self._polkitd)
            assert not watcher.wait_signal("NameOwnerChanged").body[2]

    @contextmanager
    def without_polkit(self) -> Iterator[None]:
        """Have no polkitd for a while."""
        self.stop_polkit()
        try:
            yield
        finally:
            self.start_polkit()

    def stop(self) -> None:
        """End everything."""
        if self._polkitd is not None:
            _end(self._polkitd)
        _end(self._bus)


def _polkitd() -> list[str]:
    """Return the command as the distribution's unit has it: older ones drop root themselves."""
    unit = Path("/usr/lib/systemd/system/polkit.service").read_text("ascii")
    program = ["/usr/lib/polkit-1/polkitd", "--no-debug"]
    if "\nUser=" not in unit:
        return program
    return ["setpriv", "--reuid=polkitd", "--regid=polkitd", "--init-groups", *program]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process; one that has ended already too."""
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _accounts(folder: Path) -> Path:
    """Write the machine's accounts and those of the rules."""
    lines = (f"{name}:x:{uid}:65534::/:/bin/false\n" for name, uid in ACCOUNTS.items())
    path = folder / "passwd"
    path.write_text(Path("/etc/passwd").read_text("utf-8") + "".join(lines), "utf-8")
    return path


def _bus_configuration(folder: Path) -> Path:
    """Write the distribution's system bus configuration with our place, our file and polkit's."""
    tree = ET.parse(_SYSTEM_CONF)  # noqa: S314 - the distribution's own file
    top = tree.getroot()
    for child in [part for part in top if part.tag in _PLACE]:
        top.remove(child)
    ET.SubElement(top, "listen").text = f"unix:path={folder}/bus"
    for path in (_POLKIT_CONF, ROOT / "dbus/org.appfwd1.conf"):
        ET.SubElement(top, "include").text = str(path)
    path = folder / "system.conf"
    path.write_text(_HEADER + ET.tostring(top, "unicode"))
    return path


@contextmanager
def world() -> Iterator[World]:
    """Have a bus with polkit; its folder is open to every user, as a system bus's is."""
    folder = Path(tempfile.mkdtemp(prefix="appfwd-bus-", dir="/dev/shm"))
    folder.chmod(0o755)
    made = World(folder)
    try:
        made.start_polkit()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)
