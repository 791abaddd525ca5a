"""What outlives what: flushes, strangers, stops, reboots."""

import pytest

from appfwd.core.keeping import KEPT

from .firewall import SECONDS, Firewall
from .lab.guest import Guest
from .lab.store import Snapshot, restore
from .place import HOST, PLACE, PORT, holds, only_mozilla


@pytest.fixture(scope="module", autouse=True)
def server(firewall: Firewall) -> None:
    firewall.guest.probe.serve((HOST, PORT), netns="peer")


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
    # Without the rules by which flows keep their labels, which come once the table has rest.
    handles = (
        "nft -a list table inet appfwd | sed -E 's/counter packets.*#/#/;"
        f" /chain ({'|'.join(KEPT)}) /,/^\\t}}/d'"
    )
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


def test_a_reboot_brings_the_same_state_before_the_network(installed: Snapshot) -> None:
    with restore(installed) as guest:
        firewall = Firewall(guest)
        only_mozilla(firewall)
        before = firewall.table()
        guest.run("systemctl enable --now systemd-networkd", timeout=SECONDS)
        guest.reboot(power_cut=True)
        guest.run("systemctl is-system-running --wait", timeout=SECONDS)
        # Objects are listed in the order of their making, which is another after a boot.
        assert sorted(firewall.table().split("\n")) == sorted(before.split("\n"))
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
