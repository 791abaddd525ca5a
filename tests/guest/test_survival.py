"""What outlives what: flushes, stops, kills at every step, reboots."""

import time
from collections.abc import Iterator

import pytest

from .firewall import SECONDS, Firewall
from .lab.guest import Guest
from .lab.store import Snapshot, restore

HOST, PORT = "10.9.0.5", 3128
PLACE = f"{HOST}:{PORT}"

#: Runs the daemon as it is, but ends it by SIGKILL before or after its n-th act on the outside,
#: counted from the first request on.
KILLER = """#!/usr/bin/python3
import os, signal, sys
from appfwd import daemon
from appfwd.adapters.nft import LibNft
from appfwd.adapters.semodule import Semodule
from appfwd.adapters.store import SqliteStore
from appfwd.reconciler import Reconciler

where, acts, armed = os.environ['KILL_AT'].split(), 0, False

def deadly(owner, name):
    act = getattr(owner, name)
    async def wrapped(*arguments):
        global acts
        acts += armed
        if where == ['before', str(acts)]:
            os.kill(os.getpid(), signal.SIGKILL)
        result = await act(*arguments)
        if where == ['after', str(acts)]:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, wrapped)

for owner, name in ((LibNft, 'run'), (Semodule, 'install'), (Semodule, 'remove'),
                    (SqliteStore, 'save')):
    deadly(owner, name)

submit = Reconciler.submit

async def arm(*arguments):
    global armed
    armed = True
    return await submit(*arguments)

Reconciler.submit = arm
sys.exit(daemon.main())
"""


@pytest.fixture(scope="module", autouse=True)
def server(firewall: Firewall) -> None:
    firewall.guest.probe.serve((HOST, PORT), netns="peer")


def only_mozilla(firewall: Firewall) -> None:
    firewall.guard(PLACE)
    firewall.grant("mozilla_t", PLACE)


def holds(guest: Guest, *allowed: str) -> None:
    """Hold that the allowed domains, and no others, reach the place."""
    for domain in ("mozilla_t", "named_t", "irc_t", ""):
        outcome = guest.probe.reach(domain, (HOST, PORT))
        assert outcome == ("ok" if domain in allowed else "ECONNREFUSED"), domain


def test_others_can_neither_flush_nor_edit_our_table(firewall: Firewall, guest: Guest) -> None:
    only_mozilla(firewall)
    before = firewall.table()
    guest.run("nft flush ruleset", check=True)
    guest.write("/root/other.nft", "flush ruleset\ntable inet other { chain c { counter; }; }\n")
    guest.run("nft -f /root/other.nft", check=True)
    for command in (
        "delete table inet appfwd",
        "flush chain inet appfwd output",
        f"delete element inet appfwd out_guard4 {{ {HOST} . tcp . {PORT} }}",
        "insert rule inet appfwd output accept",
    ):
        assert guest.run(["nft", command]).rc != 0
    assert firewall.table() == before
    holds(guest, "mozilla_t")
    guest.run("nft delete table inet other", check=True)


def test_the_firewall_outlives_its_daemon(firewall: Firewall, guest: Guest) -> None:
    only_mozilla(firewall)
    before = firewall.table()
    guest.run("systemctl stop appfwd", check=True, timeout=SECONDS)
    assert firewall.table() == before.replace("flags owner,persist", "flags persist")
    holds(guest, "mozilla_t")
    guest.run("systemctl start appfwd", check=True, timeout=SECONDS)
    holds(guest, "mozilla_t")
    firewall.revoke("mozilla_t", PLACE)  # the table was adopted again
    holds(guest)


def test_a_start_with_nothing_to_do_changes_nothing(firewall: Firewall, guest: Guest) -> None:
    only_mozilla(firewall)
    firewall.restart()
    handles = "nft -a list table inet appfwd | sed -E 's/counter packets.*#/#/'"
    before = guest.run(handles, check=True).out
    loads = guest.run("journalctl -k | grep -c 'policy capability open_perms'").out
    firewall.restart()
    assert guest.run(handles, check=True).out == before
    assert guest.run("journalctl -k | grep -c 'policy capability open_perms'").out == loads


def test_what_was_flushed_while_the_daemon_was_down_is_back_at_its_start(
    firewall: Firewall, guest: Guest
) -> None:
    only_mozilla(firewall)
    guest.run("systemctl stop appfwd && nft flush ruleset", check=True, timeout=SECONDS)
    guest.run("systemctl start appfwd", check=True, timeout=SECONDS)
    holds(guest, "mozilla_t")


def test_a_strangers_table_of_our_name_is_replaced(firewall: Firewall, guest: Guest) -> None:
    only_mozilla(firewall)
    guest.run(
        "systemctl stop appfwd && nft delete table inet appfwd && "
        "nft 'table inet appfwd { set x { type ipv4_addr; }; chain output { accept; }; }'",
        check=True,
        timeout=SECONDS,
    )
    guest.run("systemctl start appfwd", check=True, timeout=SECONDS)
    holds(guest, "mozilla_t")
    assert "set x" not in firewall.table()


def test_down_takes_all_away_and_up_brings_it_back(firewall: Firewall, guest: Guest) -> None:
    only_mozilla(firewall)
    assert firewall.ctl("down", check=False).rc == 1  # asks, and nobody answers
    holds(guest, "mozilla_t")
    firewall.ctl("down", "--yes")
    assert guest.run("nft list table inet appfwd").rc != 0
    assert "appfwd\n" not in guest.run("semodule -l", check=True).out
    assert guest.probe.reach("irc_t", (HOST, PORT)) == "ok"
    assert firewall.call("Guard", "sa{sv}", "10.0.0.1", "0", check=False).rc != 0
    firewall.restart()
    assert guest.probe.reach("irc_t", (HOST, PORT)) == "ok"
    firewall.ctl("up")
    holds(guest, "mozilla_t")


@pytest.fixture
def killer(firewall: Firewall, guest: Guest) -> Iterator[Guest]:
    """Yield the guest with a daemon that ends itself once :func:`kill_at` has said where."""
    guest.write("/usr/sbin/appfwd-killer", KILLER, 0o755)
    guest.run(
        "chcon -t appfwd_exec_t /usr/sbin/appfwd-killer; install -d "
        "/run/systemd/system/appfwd.service.d",
        check=True,
    )
    yield guest
    disarm(firewall)


DROP_IN = "/run/systemd/system/appfwd.service.d/killer.conf"


def kill_at(guest: Guest, moment: str) -> None:
    """Restart the daemon as one that ends itself at a moment such as `after 2`."""
    guest.write(
        DROP_IN,
        "[Service]\nExecStart=\nExecStart=/usr/sbin/appfwd-killer\nRestart=no\n"
        f'Environment="KILL_AT={moment}"\n',
    )
    guest.run("systemctl daemon-reload; systemctl restart appfwd", check=True, timeout=SECONDS)


def disarm(firewall: Firewall) -> None:
    """Restart the daemon as it is shipped."""
    if firewall.guest.run(f"rm {DROP_IN}").rc == 0:
        firewall.guest.run("systemctl daemon-reload", check=True)
        firewall.restart()


STATES = {
    "guard": {("mozilla_t", "named_t", "irc_t", ""), ()},
    "grant": {(), ("mozilla_t",)},
    "revoke": {("mozilla_t",), ()},
}


@pytest.mark.parametrize("moment", ["before 1", "after 1", "before 2", "after 2"])
@pytest.mark.parametrize("change", ["guard", "grant", "revoke"])
def test_killed_between_any_two_acts_it_ends_in_a_desired_state(
    firewall: Firewall, killer: Guest, change: str, moment: str
) -> None:
    if change != "guard":
        firewall.guard(PLACE)
    if change == "revoke":
        firewall.grant("mozilla_t", PLACE)
    kill_at(killer, moment)
    arguments = [PLACE, "0"] if change == "guard" else ["mozilla_t", PLACE, "0"]
    signature = "sa{sv}" if change == "guard" else "ssa{sv}"
    result = firewall.call(change.title(), signature, *arguments, check=False)
    assert result.rc != 0, "it was killed before it replied"
    # What the kernel has is the old state or the new one; nothing beyond.
    now = tuple(
        d
        for d in ("mozilla_t", "named_t", "irc_t", "")
        if killer.probe.reach(d, (HOST, PORT)) == "ok"
    )
    assert now in STATES[change]
    disarm(firewall)
    entries = firewall.entries()
    allowed = tuple(d for _, d, _, _ in entries if d)
    if ("guard", "", "out", PLACE) in entries:
        holds(killer, *allowed)
    else:
        assert killer.probe.reach("irc_t", (HOST, PORT)) == "ok"
    stored_new = moment == "after 2"
    assert (("guard", "", "out", PLACE) in entries) is (change != "guard" or stored_new)
    assert (("grant", "mozilla_t", "out", PLACE) in entries) is (
        {"guard": False, "grant": stored_new, "revoke": not stored_new}[change]
    )


@pytest.mark.parametrize("moment", ["before 1", "after 1", "before 2", "after 2", "after 3"])
def test_killed_around_a_policy_load(firewall: Firewall, killer: Guest, moment: str) -> None:
    """Two domains that never stood together: their audience needs a policy load."""
    firewall.guard(PLACE)
    firewall.grant("mozilla_t", PLACE)
    newcomer = {
        "before 1": "named_t",
        "after 1": "irc_t",
        "before 2": "user_t",
        "after 2": "squid_t",
        "after 3": "chromium_t",
    }[moment]
    kill_at(killer, moment)
    assert firewall.call("Grant", "ssa{sv}", newcomer, PLACE, "0", check=False).rc != 0
    assert killer.probe.reach("fetchmail_t", (HOST, PORT)) == "ECONNREFUSED"
    disarm(firewall)
    stored = moment == "after 3"
    assert (("grant", newcomer, "out", PLACE) in firewall.entries()) is stored
    assert killer.probe.reach(newcomer, (HOST, PORT)) == ("ok" if stored else "ECONNREFUSED")
    assert killer.probe.reach("mozilla_t", (HOST, PORT)) == "ok"


def test_killed_at_any_time_under_load(firewall: Firewall, guest: Guest) -> None:
    only_mozilla(firewall)
    toggling = guest.spawn(
        "while :; do for m in Grant Revoke; do busctl call org.appfwd1 /org/appfwd1 "
        f"org.appfwd1.Manager $m 'ssa{{sv}}' named_t 198.51.100.1:80 0; done; done"
    )
    for number in range(3):
        time.sleep(0.4 + 0.37 * number)
        guest.run("systemctl kill -s KILL appfwd")
        assert guest.probe.reach("irc_t", (HOST, PORT)) == "ECONNREFUSED"
        guest.run("systemctl reset-failed appfwd; systemctl start appfwd", timeout=SECONDS)
    toggling.kill()
    firewall.restart()
    holds(guest, "mozilla_t")
    assert firewall.json("status")["Problem"] == ""


def test_a_reboot_brings_the_same_state_before_the_network(installed: Snapshot) -> None:
    with restore(installed) as guest:
        firewall = Firewall(guest)
        only_mozilla(firewall)
        before = firewall.table()
        guest.run("systemctl enable --now systemd-networkd", timeout=SECONDS)
        guest.reboot(power_cut=True)
        guest.run("systemctl is-system-running --wait", timeout=SECONDS)
        assert firewall.table() == before
        assert firewall.entries() == {
            ("guard", "", "out", PLACE),
            ("grant", "mozilla_t", "out", PLACE),
        }
        guest.probe.serve((HOST, PORT), netns="peer")
        holds(guest, "mozilla_t")
        ours, network = (
            int(guest.run(["systemctl", "show", unit, "-P", key], check=True).out)
            for unit, key in (
                ("appfwd.service", "ActiveEnterTimestampMonotonic"),
                ("network-pre.target", "ActiveEnterTimestampMonotonic"),
            )
        )
        assert 0 < ours <= network
