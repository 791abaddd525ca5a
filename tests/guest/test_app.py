"""--app in the guest: the domain that is named is the one that the program then runs in."""

import json

import pytest

from .firewall import Firewall
from .lab.guest import Guest
from .place import PLACE

PROGRAM, SERVICE = "/usr/local/bin/where", "/usr/lib/systemd/systemd-resolved"
#: Says in which context it runs.
SCRIPT = b"#!/bin/sh\ncat /proc/self/attr/current\n"


@pytest.fixture(scope="module", autouse=True)
def _program(firewall: Firewall) -> None:
    firewall.guest.write(PROGRAM, SCRIPT, 0o755)


def labelled(guest: Guest, label: str) -> None:
    guest.run(["chcon", "-t", label, PROGRAM], check=True)


def granted(firewall: Firewall) -> list[str]:
    return [row["domain"] for row in firewall.json("list") if row["kind"] == "grant"]


def test_a_service_is_granted_by_its_program(firewall: Firewall, guest: Guest) -> None:
    guest.run("systemctl start systemd-resolved", check=True)
    pid = guest.run("systemctl show -P MainPID systemd-resolved", check=True).out.strip()
    domain = guest.run(f"cat /proc/{pid}/attr/current", check=True).out.split(":")[2]
    done = firewall.ctl("grant", "--app", SERVICE, PLACE)
    assert done.err == f"{SERVICE} starts in {domain} (from init_t).\n"
    assert done.out == f"granted: {PLACE} to {domain}\n"
    assert granted(firewall) == [domain]
    assert firewall.ctl("explain", "--app", SERVICE, PLACE).out.startswith("allowed")
    firewall.ctl("revoke", "--app", SERVICE, PLACE)
    assert granted(firewall) == []


def test_a_program_of_the_callers_is_granted(firewall: Firewall, guest: Guest) -> None:
    """The label is what counts, and the domain that the call comes from."""
    labelled(guest, "ping_exec_t")
    done = firewall.ctl("grant", "--app", PROGRAM, PLACE)
    (domain,) = granted(firewall)
    assert f"{PROGRAM} starts in {domain} (from " in done.err
    assert domain == "ping_t"


def test_one_without_a_domain_of_its_own_is_not_granted_unasked(
    firewall: Firewall, guest: Guest
) -> None:
    labelled(guest, "bin_t")
    runs_in = guest.run([PROGRAM], check=True).out.split(":")[2]
    done = firewall.ctl("grant", "--app", PROGRAM, PLACE, check=False)
    assert (done.rc, done.out) == (1, "")
    assert f"Policy has no domain for {PROGRAM}: from {runs_in} it runs in {runs_in}" in done.err
    assert granted(firewall) == []
    plan = guest.run(["appfwctl", "--json", "plan", "grant", "--app", PROGRAM, PLACE], check=True)
    assert [row["domain"] for row in json.loads(plan.out)["members"]] == [runs_in]
    firewall.ctl("grant", "--yes", "--app", PROGRAM, PLACE)
    assert granted(firewall) == [runs_in]


def test_what_is_no_program_is_told(firewall: Firewall) -> None:
    done = firewall.ctl("grant", "--app", "/nowhere", PLACE, check=False)
    assert done.rc == 2
    assert "There is no program '/nowhere'" in done.err
