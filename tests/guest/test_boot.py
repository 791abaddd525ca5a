"""What a boot has in force before the daemon is there, and how the daemon takes it over."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from appfwd.core.keeping import KEPT

from .firewall import SECONDS, Firewall
from .lab.guest import Guest
from .lab.store import Snapshot, restore
from .place import HOST, PORT, holds, only_mozilla
from .test_kills import arm, kill_at

RULESET = "/var/lib/appfwd/boot/ruleset.json"


@contextmanager
def machine(installed: Snapshot) -> Iterator[Firewall]:
    """Yield a machine that can be booted, with the place granted to mozilla_t alone."""
    with restore(installed) as guest:
        firewall = Firewall(guest)
        only_mozilla(firewall)
        at_rest(guest)
        yield firewall


def at_rest(guest: Guest) -> None:
    """Wait until the next boot's ruleset is written."""
    wait = f"for i in $(seq 300); do [ -e {RULESET} ] && exit 0; sleep 0.1; done; exit 1"
    guest.run(wait, check=True, timeout=SECONDS)


def booted(guest: Guest, *, daemon: bool) -> None:
    """Cut the power and boot; without ``daemon`` it is kept from starting."""
    guest.run(f"systemctl {'unmask' if daemon else 'mask'} appfwd", check=True, timeout=SECONDS)
    guest.run("sync", check=True)
    guest.reboot(power_cut=True)
    guest.run("systemctl is-system-running --wait", timeout=SECONDS)
    guest.probe.serve((HOST, PORT), netns="peer")


def shown(guest: Guest, unit: str, key: str) -> str:
    return guest.run(["systemctl", "show", unit, "-P", key], check=True).out.strip()


def test_the_boot_unit_alone_enforces_before_the_network(installed: Snapshot) -> None:
    with machine(installed) as firewall:
        guest = firewall.guest
        before = firewall.table()
        guest.run("systemctl enable --now systemd-networkd", timeout=SECONDS)
        booted(guest, daemon=False)
        assert shown(guest, "appfwd", "ActiveState") == "inactive"
        assert shown(guest, "appfwd-boot", "Result") == "success"
        ours = int(shown(guest, "appfwd-boot", "ActiveEnterTimestampMonotonic"))
        network = int(shown(guest, "network-pre.target", "ActiveEnterTimestampMonotonic"))
        print("seconds to the table:", ours / 1e6, "to network-pre:", network / 1e6)
        assert 0 < ours <= network
        assert sorted(lasting(firewall.table())) == sorted(lasting(before))
        holds(guest, "mozilla_t")
        assert not [avc for avc in guest.avcs() if "appfwd_t" in str(avc)]


def lasting(table: str) -> list[str]:
    """Return a table without what tells its owner, and that flows keep their labels."""
    passing = ("flags ", "table ", "oif ", "ct status 0x1 ")
    without = re.sub(rf"chain (?:{'|'.join(KEPT)}) {{[^}}]*}}", "", table)
    lines = [line.strip() for line in without.split("\n")]
    return [line for line in lines if not line.startswith(passing)]


def handles(guest: Guest) -> list[str]:
    command = "nft -n -a list table inet appfwd | sed -E 's/counter packets.*#/#/'"
    return lasting(guest.run(command, check=True).out)


def test_an_audience_on_a_slot_is_there_without_the_daemon_which_then_adopts_it(
    installed: Snapshot,
) -> None:
    with machine(installed) as firewall:
        guest = firewall.guest
        firewall.grant("named_t", f"{HOST}:{PORT}")
        at_rest(guest)
        booted(guest, daemon=False)
        holds(guest, "mozilla_t", "named_t")
        before = handles(guest)
        loads = guest.run("cat /sys/fs/selinux/policy | sha256sum").out
        guest.run("systemctl unmask appfwd; systemctl start appfwd", check=True, timeout=SECONDS)
        assert guest.run(f"test -e {RULESET}").rc == 0, "nothing was changed"
        assert handles(guest) == before
        assert guest.run("cat /sys/fs/selinux/policy | sha256sum").out == loads
        holds(guest, "mozilla_t", "named_t")
        firewall.revoke("named_t", f"{HOST}:{PORT}")
        holds(guest, "mozilla_t")


def test_with_the_daemon_the_table_is_there_long_before_it(installed: Snapshot) -> None:
    with machine(installed) as firewall:
        guest = firewall.guest
        booted(guest, daemon=True)
        table, ready = (
            int(shown(guest, unit, "ActiveEnterTimestampMonotonic")) / 1e6
            for unit in ("appfwd-boot", "appfwd")
        )
        print(f"table in force {table:.1f} s after the kernel's start, daemon ready {ready:.1f} s")
        assert 0 < table < ready
        holds(guest, "mozilla_t")


def test_what_was_revoked_a_moment_before_a_power_cut_is_not_there(installed: Snapshot) -> None:
    with machine(installed) as firewall:
        guest = firewall.guest
        firewall.revoke("mozilla_t", f"{HOST}:{PORT}")
        guest.run("systemctl kill -s KILL appfwd", check=True)
        booted(guest, daemon=False)
        assert guest.run(f"test -e {RULESET}").rc != 0
        assert guest.run("nft list table inet appfwd").rc != 0
        guest.run("systemctl unmask appfwd; systemctl start appfwd", check=True, timeout=SECONDS)
        holds(guest)


def test_killed_before_the_first_act_of_a_change_it_left_no_ruleset(installed: Snapshot) -> None:
    with machine(installed) as firewall:
        guest = firewall.guest
        arm(guest)
        kill_at(guest, "before 1")
        at_rest(guest)
        words = ("ssa{sv}", "mozilla_t", f"{HOST}:{PORT}", "0")
        assert firewall.call("Revoke", *words, check=False).rc != 0, "it was killed"
        assert guest.run(f"test -e {RULESET}").rc != 0
        booted(guest, daemon=True)  # the killer is gone with /run
        assert shown(guest, "appfwd-boot", "ConditionResult") == "no"
        holds(guest, "mozilla_t")


def test_what_is_on_trial_is_not_there(installed: Snapshot) -> None:
    with machine(installed) as firewall:
        guest = firewall.guest
        firewall.ctl("guard", "--for", "1h", "10.9.0.6")
        booted(guest, daemon=False)
        assert guest.run("nft list table inet appfwd").rc != 0


def test_a_ruleset_that_cannot_be_loaded_is_no_harm(installed: Snapshot) -> None:
    with machine(installed) as firewall:
        guest = firewall.guest
        guest.run(f"sed -i s/only_mozilla_t/only_nobody_t/ {RULESET}", check=True)
        booted(guest, daemon=True)
        assert shown(guest, "appfwd-boot", "Result") == "exit-code"
        holds(guest, "mozilla_t")
