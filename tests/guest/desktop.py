"""A desktop in a guest: a person's login session with a screen, and notifications to press on.

The session is logind's, of a person at the seat's virtual terminal; X draws into memory. Buttons
are found by what accessibility tells of the server's widgets: their labels and places as they are
drawn, so nothing here knows the server's layout. They are pressed by X's own input.
"""

import gzip
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .lab.cache import content_key
from .lab.guest import Guest, Process, Result
from .lab.image import PEOPLE
from .lab.store import Snapshot, derive

HERE = Path(__file__).parent
FILES = HERE / "lab/desktop"
INSIDE = "/usr/lib/appfwd-lab/desktop"
SECONDS = 300.0
PATIENCE = 240.0
#: Runs a program in a control group; logind takes it for one of that session.
JOIN = 'echo $$ > "$0" && exec setpriv --reuid="$1" --regid="$1" --init-groups -- "${@:2}"'
INSTALL = f"""
cp {INSIDE}/*.target {INSIDE}/*.service /etc/systemd/user/
install -D -m 644 -t /etc/xdg/xfce4/xfconf/xfce-perchannel-xml {INSIDE}/xfce4-notifyd.xml
rm -rf /run/user/{{uid}}/screen
"""
WAIT = """
until test -S /run/user/{uid}/screen/reader; do
    systemctl --quiet is-active {unit} || exit 1
    sleep 0.2
done
"""
#: What tells why a session did not come up; its processes are in a unit of logind's.
WHY = """
systemctl --no-pager status {unit} "user@*" "session-*"
systemctl --no-pager list-jobs; loginctl --no-pager; ps -eo pid,stat,time,args
journalctl --no-pager --lines=100
"""


@dataclass(frozen=True)
class Shown:
    """A notification as a person reads it."""

    summary: str
    body: str
    buttons: tuple[str, ...]


@dataclass(frozen=True)
class Desktop:
    """The graphical session of one of `PEOPLE`."""

    guest: Guest
    user: str
    session: str
    """Its id of logind."""

    @classmethod
    def open(cls, guest: Guest, user: str = "alice") -> "Desktop":
        """Log in, show an empty screen, and make the session the active one.

        AssertionError, with what the session said, if it does not come up.
        """
        unit, terminal = f"desktop-{user}", _terminal(user)
        guest.push_tree(FILES, INSIDE)
        guest.run(INSTALL.format(uid=PEOPLE[user]), check=True)
        login = ["systemd-run", "-q", "--collect", f"--unit={unit}", "-p", f"User={user}"]
        login += ["-p", "PAMName=login", "-p", f"TTYPath=/dev/tty{terminal}"]
        login += ["-p", "StandardInput=tty", "-p", "StandardOutput=journal"]
        about = {"XDG_SEAT": "seat0", "XDG_VTNR": str(terminal), "XDG_SESSION_TYPE": "x11"}
        login += [f"--setenv={name}={value}" for name, value in about.items()]
        guest.run([*login, "bash", f"{INSIDE}/session.sh"], check=True)
        came = guest.run(WAIT.format(uid=PEOPLE[user], unit=unit), timeout=SECONDS)
        assert came.rc == 0, (came, guest.run(WHY.format(unit=unit)).out)
        made = cls.find(guest, user)
        made.activate()
        return made

    @classmethod
    def find(cls, guest: Guest, user: str = "alice") -> "Desktop":
        """Return the desktop of a session that is open, as after a snapshot."""
        shown = guest.run(["loginctl", "show-user", user, "-p", "Display", "--value"], check=True)
        return cls(guest, user, shown.out.strip())

    @property
    def uid(self) -> int:
        """The person's number."""
        return PEOPLE[self.user]

    def run(
        self, words: Sequence[str] | str, *, timeout: float = SECONDS, check: bool = False
    ) -> Result:
        """Run a command in the session as that person, text through bash."""
        return self.guest.run(
            self._words(words),
            env=self._environment(),
            cwd=self._home,
            timeout=timeout,
            check=check,
        )

    def spawn(self, words: Sequence[str] | str) -> Process:
        """Start a command in the session as that person, in the background."""
        return self.guest.spawn(self._words(words), env=self._environment(), cwd=self._home)

    def notify(
        self, summary: str, body: str, seconds: float, actions: Sequence[tuple[str, str]] = ()
    ) -> Process:
        """Show a notification with actions (key, label), for tests of the desktop itself.

        The process prints what the sender is told, a JSON line for each, and ends with it.
        """
        listed = [part for action in actions for part in action]
        return self.spawn(["python3", f"{INSIDE}/notify.py", summary, body, str(seconds), *listed])

    def notifications(self) -> list[Shown]:
        """Return what is shown now, from the top of the screen."""
        return self.shown(None)

    def shown(self, count: int | None, *, seconds: float = PATIENCE) -> list[Shown]:
        """Return what is shown once there are so many; AssertionError if there never are."""
        found = [_shown(**row) for row in self._ask("show", count, seconds)]
        assert count in (None, len(found)), found
        return found

    def press(self, label: str, text: str = "", *, seconds: float = PATIENCE) -> None:
        """Press the button of a label, of the notification with a text in it, when it is there.

        AssertionError if there is not just one in that time.
        """
        wrong = self._ask("click", label, text, seconds)
        assert not wrong, (wrong, self.notifications())

    def dismiss(self, text: str = "", *, seconds: float = PATIENCE) -> None:
        """Click on the summary of the notification with a text in it, as `press` does."""
        self.press("", text, seconds=seconds)

    def screenshot(self, path: Path) -> None:
        """Write what the screen shows now to a PNG file of the host."""
        file = f"/run/user/{self.uid}/screen/Xvfb_screen0"
        packed = f"/run/screen-{self.user}.gz"
        self.guest.run(f"gzip -1 -c {file} > {packed}", check=True)
        path.write_bytes(_png(gzip.decompress(self.guest.read(packed))))

    def active(self) -> bool:
        """Tell whether this session has the seat now."""
        shown = self.guest.run(
            ["loginctl", "show-session", self.session, "-p", "Active", "--value"]
        )
        return shown.out.strip() == "yes"

    def activate(self) -> None:
        """Give this session the seat."""
        self.guest.run(["loginctl", "activate", self.session], check=True)
        _until_done(self.guest, f"loginctl show-session {self.session} -p Active | grep -q yes")

    def switch_to(self, other: "Desktop") -> None:
        """Give another's session the seat; this one is not active any more then."""
        other.activate()
        assert not self.active()

    def close(self) -> None:
        """Log out; nothing of that person runs any more then."""
        self.guest.run(["loginctl", "terminate-session", self.session])
        units = [f"user@{self.uid}", f"user-runtime-dir@{self.uid}"]
        self.guest.run(["systemctl", "stop", *units], timeout=SECONDS)
        _until_done(self.guest, f"! loginctl show-session {self.session} >/dev/null 2>&1")

    def _ask(self, *request: object) -> Any:
        """Ask the reader of the screen."""
        connect = f"UNIX-CONNECT:/run/user/{self.uid}/screen/reader"
        words = ["socat", f"-t{SECONDS:.0f}", "-", connect]
        asked = json.dumps(request) + "\n"
        return json.loads(self.guest.run(words, stdin=asked, timeout=SECONDS, check=True).out)

    def _words(self, words: Sequence[str] | str) -> list[str]:
        group = f"/sys/fs/cgroup/user.slice/user-{self.uid}.slice/session-{self.session}.scope"
        program = ["bash", "-c", words] if isinstance(words, str) else words
        return ["bash", "-c", JOIN, f"{group}/cgroup.procs", self.user, *program]

    def _environment(self) -> dict[str, str]:
        directory = f"/run/user/{self.uid}"
        return {
            "HOME": self._home,
            "USER": self.user,
            "LOGNAME": self.user,
            "DISPLAY": f":{_terminal(self.user)}",
            "XDG_RUNTIME_DIR": directory,
            "XDG_SESSION_ID": self.session,
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={directory}/bus",
        }

    @property
    def _home(self) -> str:
        return f"/home/{self.user}"


def desktop_snapshot(parent: Snapshot, *people: str) -> Snapshot:
    """Return the snapshot of a guest where people are logged in, alice unless others are named.

    The first one's session is the active one. `Desktop.find` has them in a guest restored from it.
    """
    names = people or ("alice",)
    key = content_key(FILES, Path(__file__), *names)
    return derive(parent, key, lambda guest: _log_in(guest, names))


def _log_in(guest: Guest, people: Sequence[str]) -> None:
    for user in reversed(people):
        desktop = Desktop.open(guest, user)
        # The first notification loads fonts and icons, which takes long.
        sender = desktop.notify("Welcome", "to the lab", SECONDS, [("a", "Thanks")])
        desktop.press("Thanks")
        assert sender.wait() == 0, sender.output()


def _terminal(user: str) -> int:
    """Return the person's virtual terminal, and X display: 7 and 8, where no getty starts."""
    return 7 + list(PEOPLE).index(user)


def _until_done(guest: Guest, condition: str) -> None:
    """Wait until a shell condition holds in the guest; AssertionError if it does not."""
    waiting = f"until {condition}; do sleep 0.1; done"
    assert not guest.run(waiting, timeout=PATIENCE).timed_out, condition


def _shown(texts: list[tuple[str, object]], buttons: list[tuple[str, object]]) -> Shown:
    summary, *body = [said for said, _ in texts]
    return Shown(summary, "\n".join(body), tuple(said for said, _ in buttons))


def _png(window: bytes) -> bytes:
    """Return a PNG of an X window dump of 32 bits a pixel, which is what Xvfb keeps."""
    header = struct.unpack(">20I", window[:80])
    size, width, height, bits, line, colours = (header[at] for at in (0, 4, 5, 11, 12, 19))
    assert bits == 32, header
    rows = bytearray()
    start = size + 12 * colours
    for top in range(start, start + height * line, line):
        blue_first = window[top : top + 4 * width]
        row = bytearray(3 * width)
        row[0::3], row[1::3], row[2::3] = blue_first[2::4], blue_first[1::4], blue_first[0::4]
        rows += b"\0" + row
    form = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (_chunk(b"IHDR", form), _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
