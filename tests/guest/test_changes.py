"""What others do to policy and nftables while the daemon runs is seen, told and put right."""

import time
from collections.abc import Callable

from .firewall import MANAGER, SECONDS, Firewall
from .lab.guest import Guest
from .place import HOST, PORT, holds, only_mozilla

#: A policy load here costs about 12 s, and repairing costs another.
PATIENCE = 240.0


def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds; AssertionError if it never does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.3)


def prop(guest: Guest, name: str) -> str:
    """Return a property of the daemon as busctl prints it."""
    return guest.run(["busctl", "get-property", *MANAGER, name], check=True).out.strip()


def test_a_module_that_an_administrator_removed_is_put_back(
    firewall: Firewall, guest: Guest
) -> None:
    guest.probe.serve((HOST, PORT), netns="peer")
    only_mozilla(firewall)
    guest.run("semodule -X 400 -r appfwd", check=True, timeout=SECONDS)
    until(lambda: "appfwd\n" in guest.run("semodule -l", check=True).out)
    until(lambda: prop(guest, "Problem") == 's ""')
    holds(guest, "mozilla_t")


def test_a_rule_of_another_module_is_told_and_no_longer_a_problem_when_it_is_gone(
    firewall: Firewall, guest: Guest
) -> None:
    only_mozilla(firewall)
    rule = "(allow irc_t appfwd_only_mozilla_t_packet_t (packet (send recv)))"
    guest.write("/root/leak.cil", rule + "\n")
    guest.run("semodule -i /root/leak.cil", check=True, timeout=SECONDS)
    until(lambda: "irc_t may send" in prop(guest, "Problem"))
    assert "irc_t may send" in firewall.ctl("status", check=False).out
    guest.run("semodule -r leak", check=True, timeout=SECONDS)
    until(lambda: prop(guest, "Problem") == 's ""')


def test_permissive_is_told_by_a_signal(firewall: Firewall, guest: Guest) -> None:
    guest.run(
        "busctl monitor --json=short --match \"type='signal',member='PropertiesChanged'\" "
        "> /root/signals 2>&1 & sleep 1",
        check=True,
    )
    guest.run("setenforce 0", check=True)
    until(lambda: prop(guest, "Enforcing") == "b false")
    until(lambda: '"Enforcing":{"type":"b","data":false}' in guest.run("cat /root/signals").out)
    assert "permissive" in firewall.ctl("status").out
    guest.run("setenforce 1", check=True)
    until(lambda: '"Enforcing":{"type":"b","data":true}' in guest.run("cat /root/signals").out)
    assert prop(guest, "Warnings") == "as 0"


def test_another_table_that_labels_packets_is_told(firewall: Firewall, guest: Guest) -> None:
    table = (
        'table inet rival { secmark s { "system_u:object_r:ssh_server_packet_t:s0"; }; '
        "chain c { type filter hook output priority 0; tcp dport 9 meta secmark set s; }; }"
    )
    guest.run(["nft", table], check=True)
    until(lambda: "chain c of the nftables table inet rival" in prop(guest, "Warnings"))
    assert "warning: The chain c" in firewall.ctl("status").out
    guest.run("nft delete table inet rival", check=True)
    until(lambda: prop(guest, "Warnings") == "as 0")


def test_with_nothing_to_do_the_daemon_sleeps(firewall: Firewall, guest: Guest) -> None:
    only_mozilla(firewall)
    firewall.restart()
    # A start has work left for later: flows keep labels after 1 s, the next boot's file comes
    # after 5 s, and under emulation the writing takes a while.
    time.sleep(15)
    pid = guest.run("systemctl show -P MainPID appfwd", check=True).out.strip()
    switches = f"grep -h ctxt_switches /proc/{pid}/task/*/status"
    before = guest.run(switches, check=True).out
    time.sleep(10)
    assert guest.run(switches, check=True).out == before
