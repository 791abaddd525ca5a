"""The daemon in a guest, as its users have it: installed by `make install`, run by systemd."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appfwd.core.keeping import KEPT

from .lab.cache import content_key
from .lab.guest import Guest, Result
from .lab.store import Snapshot, derive

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ["appfwd", "dbus", "systemd", "docs", "Makefile"]
SECONDS = 300.0
MANAGER = ["org.appfwd1", "/org/appfwd1", "org.appfwd1.Manager"]
#: The chains that have rules while flows keep their labels.
_KEPT = re.compile(rf"(chain (?:{'|'.join(KEPT)}) \{{\n)(?:\t\t.*\n)*(\t\}})")
#: Domains whose own packet types are in the policy of the prepared guest, so that most tests
#: cost no policy load.
WARM = ["mozilla_t", "chromium_t", "named_t", "postgresql_t", "squid_t", "irc_t", "user_t"]


@dataclass(frozen=True)
class Firewall:
    """Asks the daemon; a change is made as root through busctl, which starts quickly."""

    guest: Guest

    def ctl(self, *words: str, check: bool = True) -> Result:
        """Run appfwctl; AssertionError unless it ends with 0, if `check`."""
        result = self.guest.run(["appfwctl", *words], timeout=SECONDS)
        assert not check or result.rc == 0, result
        return result

    def json(self, *words: str) -> Any:
        """Run appfwctl with --json and return its answer, whatever its exit status."""
        return json.loads(self.ctl("--json", *words, check=False).out)

    def call(self, method: str, signature: str, *arguments: str, check: bool = True) -> Result:
        """Call a method with busctl."""
        words = ["busctl", f"--timeout={SECONDS:.0f}", "call", *MANAGER, method]
        words += [*([signature] if signature else []), *arguments]
        result = self.guest.run(words, timeout=SECONDS)
        assert not check or result.rc == 0, result
        return result

    def guard(self, destination: str, *, inbound: bool = False) -> None:
        self.call("Guard", "sa{sv}", destination, *_options(inbound=inbound))

    def unguard(self, destination: str, *, inbound: bool = False) -> None:
        self.call("Unguard", "sa{sv}", destination, *_options(inbound=inbound))

    def grant(self, domain: str, destination: str, *, inbound: bool = False) -> None:
        self.call("Grant", "ssa{sv}", domain, destination, *_options(inbound=inbound))

    def grant_for(self, domain: str, destination: str, seconds: int) -> None:
        """Grant for so many seconds, from about now on."""
        self.call("Grant", "ssa{sv}", domain, destination, "1", "for", "i", str(seconds))

    def revoke(self, domain: str, destination: str, *, inbound: bool = False) -> None:
        self.call("Revoke", "ssa{sv}", domain, destination, *_options(inbound=inbound))

    def rows(self, method: str, *options: str) -> list[dict[str, Any]]:
        """Return the rows of a method that gives rows; ``options`` as busctl takes an a{sv}."""
        words = ["busctl", "--json=short", f"--timeout={SECONDS:.0f}", "call", *MANAGER]
        answer = self.guest.run(
            [*words, method, "a{sv}", *(options or ("0",))], timeout=SECONDS, check=True
        )
        rows = json.loads(answer.out)["data"][0]
        return [{key: value["data"] for key, value in row.items()} for row in rows]

    def entries(self) -> set[tuple[str, ...]]:
        """Return kind, domain, direction and destination of all that is listed."""
        keys = ("kind", "domain", "direction", "destination")
        return {(*(str(row[key]) for key in keys),) for row in self.rows("List")}

    def table(self) -> str:
        """Return our table as nft lists it, without handles, counters, and kept labels' rules."""
        command = (
            "nft -n list table inet appfwd"
            " | sed -E 's/counter packets [0-9]+ bytes [0-9]+//; s/ # progname .*//'"
        )
        listed = self.guest.run(command, check=True).out
        return _KEPT.sub(r"\1\2", listed)

    def clear(self) -> None:
        """Take every guard and grant away; fences stay, since each costs policy loads."""
        self.clear_grants()
        for kind, _domain, direction, destination in sorted(self.entries()):
            if kind == "guard":
                self.unguard(destination, inbound=direction == "in")

    def clear_grants(self) -> None:
        """Take every grant away."""
        for kind, domain, direction, destination in sorted(self.entries()):
            if kind == "grant":
                words = (domain, destination, *_options(inbound=direction == "in"))
                done = self.call("Revoke", "ssa{sv}", *words, check=False)
                # One with an end may have ended since it was listed.
                assert done.rc == 0 or "has no grant" in done.err, done

    def restart(self) -> None:
        """Restart the daemon; it is ready when this returns."""
        self.guest.run(
            "systemctl reset-failed appfwd; systemctl restart appfwd", check=True, timeout=SECONDS
        )

    def journal(self) -> str:
        """Return the end of the daemon's journal."""
        return self.guest.run("journalctl -u appfwd --no-pager -n 60").out


def _options(*, inbound: bool) -> Sequence[str]:
    return ["1", "direction", "s", "in"] if inbound else ["0"]


def installed_snapshot(base: Snapshot) -> Snapshot:
    """Return the snapshot of a guest with the daemon installed, enabled, and running."""
    domain = ROOT / "systemd" / "appfwd_daemon.cil"
    with_domain = derive(base, content_key(domain, "domain"), _load_domain)
    key = content_key(*(ROOT / name for name in SHIPPED), Path(__file__))
    return derive(with_domain, key, _prepare)


def _load_domain(guest: Guest) -> None:
    """Load the daemon's own domain first: it changes seldom, and a policy load takes long."""
    domain = ROOT / "systemd" / "appfwd_daemon.cil"
    guest.write("/root/appfwd_daemon.cil", domain.read_bytes())
    guest.run("semodule -X 400 -i /root/appfwd_daemon.cil", timeout=SECONDS, check=True)
    guest.write("/var/lib/appfwd/.daemon.cil", domain.read_bytes(), 0o600)


def push_project(guest: Guest) -> None:
    """Copy what a user needs of the project to /root/appfwd."""
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            guest.push_tree(source, f"/root/appfwd/{name}")
        else:
            guest.write(f"/root/appfwd/{name}", source.read_bytes())


def _prepare(guest: Guest) -> None:
    push_project(guest)
    guest.run("make install", cwd="/root/appfwd", timeout=SECONDS, check=True)
    guest.run("systemctl enable --now appfwd", timeout=SECONDS, check=True)
    firewall = Firewall(guest)
    places = [f"203.0.113.{number}" for number in range(1, len(WARM) + 1)]
    for domain, place in zip(WARM, places, strict=True):
        firewall.grant(domain, place)
    firewall.guard(places[0])
    firewall.clear()
