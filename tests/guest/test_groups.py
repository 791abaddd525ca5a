"""Grants that add to who may use a place anyway: by slots too, without policy loads."""

import itertools

import pytest

from .firewall import SECONDS, Firewall
from .lab.guest import Guest
from .place import HOST, PLACE, PORT, holds
from .test_pool import boolean, policies, slots, until

#: Two to be granted, and a third one, or both together would be all that there are.
FENCED, THIRD = ("mozilla_t", "irc_t"), "named_t"
OTHERS, ELSEWHERE = ("",), "10.9.0.77"


@pytest.fixture(scope="module", autouse=True)
def server(firewall: Firewall) -> None:
    firewall.guest.probe.serve((HOST, PORT), netns="peer")


def every_set(firewall: Firewall, guest: Guest, others: tuple[str, ...]) -> None:
    """Grant the place to every set of the two, beside others who may use it anyway."""
    holds(guest, *others)
    before = policies(guest)
    for pair in (FENCED, FENCED[::-1]):
        for number, domain in enumerate(pair, 1):
            firewall.grant(domain, PLACE)
            holds(guest, *others, *pair[:number])
        for number, domain in enumerate(pair, 1):
            firewall.revoke(domain, PLACE)
            holds(guest, *others, *pair[number:])
    assert policies(guest) == before


def fence(firewall: Firewall) -> None:
    """Have three domains fenced, and two of them known."""
    for domain in (*FENCED, THIRD):
        firewall.ctl("fence", "--yes", domain)
    for domain in FENCED:
        firewall.grant(domain, ELSEWHERE)  # known, and the group with it


def both_granted(firewall: Firewall) -> str:
    """Have the place granted to both, beside all that are not fenced; return the slot."""
    fence(firewall)
    for domain in FENCED:
        firewall.grant(domain, PLACE)
    (slot,) = slots(firewall)
    return slot


def groups_boolean(guest: Guest, slot: str) -> str:
    """Return the boolean by which a group uses a slot."""
    found = guest.run(f"getsebool -a | grep '^{boolean(slot, 'appfwd_group_')}.*on$'", check=True)
    (line,) = found.out.splitlines()
    return line.split()[0]


def test_what_fenced_domains_are_granted_is_added_to_all_others(
    firewall: Firewall, guest: Guest
) -> None:
    fence(firewall)
    every_set(firewall, guest, OTHERS)


def test_a_groups_boolean_set_by_hand_is_set_right(firewall: Firewall, guest: Guest) -> None:
    slot = both_granted(firewall)
    name = groups_boolean(guest, slot)
    guest.run(f"setsebool {name} 0", check=True)
    until(f"{name} --> on", f"getsebool {name}", guest)
    holds(guest, *OTHERS, *FENCED)


def test_a_group_that_another_module_widens_lets_nobody_in_for_long(
    firewall: Firewall, guest: Guest
) -> None:
    """The audience leaves the slot, whose group's name no longer says who is in it."""
    slot = both_granted(firewall)
    holds(guest, "", *FENCED)
    group = groups_boolean(guest, slot).removeprefix(boolean(slot, ""))
    rule = f"(typeattributeset {group}_send (named_t))(typeattributeset {group}_recv (named_t))"
    guest.write("/root/theirs.cil", rule.encode())
    guest.run("semodule -X 450 -i /root/theirs.cil", timeout=SECONDS, check=True)
    try:
        until("1", f"nft list table inet appfwd | grep -c {slot} | grep -c '^0$'", guest)
        holds(guest, "", *FENCED)
        assert firewall.json("status")["Problem"] == ""
    finally:
        guest.run("semodule -X 450 -r theirs", timeout=SECONDS, check=True)


def test_with_labels_and_the_bridge_closed_grants_add_to_what_policy_lets(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.call("SetBaseline", "ba{sv}", "true", "0")
    firewall.call("SetBridge", "sa{sv}", "closed", "0")
    others = tuple(domain for domain in ("named_t", "") if _reaches(guest, domain))
    anyway = tuple(domain for domain in FENCED if _reaches(guest, domain))
    assert len(anyway) < len(FENCED)
    left = tuple(domain for domain in FENCED if domain not in anyway)
    for domain in (*left, "named_t"):
        firewall.grant(domain, f"{ELSEWHERE}:{PORT}/tcp")
    before = policies(guest)
    for some in itertools.chain([("named_t",), left], [("named_t", *left)]):
        for domain in some:
            firewall.grant(domain, PLACE)
        holds(guest, *others, *anyway, *some)
        for domain in some:
            firewall.revoke(domain, PLACE)
        holds(guest, *others, *anyway)
    assert policies(guest) == before


def _reaches(guest: Guest, domain: str) -> bool:
    return guest.probe.reach(domain, (HOST, PORT)) == "ok"
