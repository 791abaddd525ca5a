"""Audiences on slots in the real kernel: no policy load, as exclusive as types of their own."""

import itertools
import time

import pytest

from .firewall import MANAGER, SECONDS, Firewall
from .lab.guest import Guest
from .lab.store import Snapshot, restore
from .place import HOST, PLACE, PORT, holds, only_mozilla

OTHER = f"10.9.0.6:{PORT}"


@pytest.fixture(scope="module", autouse=True)
def server(firewall: Firewall) -> None:
    for kind in ("tcp", "udp"):
        firewall.guest.probe.serve((HOST, PORT), kind=kind, netns="peer")


def policies(guest: Guest) -> int:
    """Return how many policies were built since the guest began."""
    return int(guest.run("journalctl -u appfwd | grep -c 'applying: LoadModule'").out)


def two(firewall: Firewall) -> str:
    """Have mozilla_t and named_t in one place, by a slot; return the slot."""
    firewall.guard(PLACE)
    firewall.grant("mozilla_t", PLACE)
    firewall.grant("named_t", PLACE)
    (slot,) = slots(firewall)
    return slot


def slots(firewall: Firewall) -> set[str]:
    """Return the slots that the table names."""
    words = firewall.table().replace(":", " ").split()
    return {word for word in words if word.startswith("appfwd_slot_")}


def until(said: str, command: str, guest: Guest) -> None:
    """Wait until a command says so."""
    end = time.monotonic() + SECONDS
    while guest.run(command).out.strip() != said:
        assert time.monotonic() < end, command
        time.sleep(0.5)


def boolean(slot: str, domain: str) -> str:
    return f"{slot.removesuffix('_packet_t')}_{domain}"


def test_every_pair_of_domains_without_a_policy_load(firewall: Firewall, guest: Guest) -> None:
    before = policies(guest)
    firewall.guard(PLACE)
    for pair in itertools.combinations(("mozilla_t", "named_t", "irc_t"), 2):
        for domain in pair:
            firewall.grant(domain, PLACE)
        holds(guest, *pair)
        for domain in pair:
            firewall.revoke(domain, PLACE)
            # One after the other: what is left is the other's alone, then nobody's.
        holds(guest)
    assert policies(guest) == before


def test_a_live_connection_is_cut_when_its_domain_leaves_the_audience(
    firewall: Firewall, guest: Guest
) -> None:
    two(firewall)
    leaves, stays = (
        guest.probe.open(domain, (HOST, PORT)).opened() for domain in ("mozilla_t", "named_t")
    )
    assert leaves.echo().ok
    assert stays.echo().ok
    firewall.revoke("mozilla_t", PLACE)
    assert not leaves.echo(seconds=2).ok
    assert stays.echo().ok
    firewall.grant("irc_t", PLACE)  # another audience, another slot
    assert not leaves.echo(seconds=2).ok
    assert stays.echo().ok
    firewall.grant("mozilla_t", PLACE)
    assert leaves.echo(seconds=20).ok


@pytest.mark.parametrize(("domain", "value"), [("mozilla_t", "0"), ("irc_t", "1")])
def test_a_boolean_set_by_hand_is_set_right(
    firewall: Firewall, guest: Guest, domain: str, value: str
) -> None:
    name = boolean(two(firewall), domain)
    before = policies(guest)
    guest.run(f"setsebool {name} {value}", check=True)
    until(f"{name} --> {'off' if value == '1' else 'on'}", f"getsebool {name}", guest)
    holds(guest, "mozilla_t", "named_t")
    assert policies(guest) == before
    assert firewall.json("status")["Problem"] == ""


def test_booleans_outlast_others_policy_loads_and_the_daemon(
    firewall: Firewall, guest: Guest
) -> None:
    slot = two(firewall)
    before = policies(guest)
    guest.run("load_policy", timeout=SECONDS, check=True)
    holds(guest, "mozilla_t", "named_t")
    firewall.restart()
    holds(guest, "mozilla_t", "named_t")
    assert slots(firewall) == {slot}
    assert policies(guest) == before


def test_another_module_that_uses_a_slot_is_found_out(firewall: Firewall, guest: Guest) -> None:
    slot = two(firewall)
    name = boolean(slot, "mozilla_t")
    rule = f"(booleanif {name} (true (allow irc_t {slot} (packet (send recv)))))"
    guest.write("/root/theirs.cil", rule.encode())
    guest.run("semodule -X 450 -i /root/theirs.cil", timeout=SECONDS, check=True)
    try:
        result = firewall.call("Guard", "sa{sv}", "192.0.2.1", "0", check=False)
        assert result.rc != 0
        assert f"Another policy module opens packets of type {slot}" in result.err
        # Without its audience the slot is free, and is passed over for the next.
        firewall.revoke("named_t", PLACE)
        holds(guest, "mozilla_t")
        firewall.grant("named_t", PLACE)
        assert slot not in slots(firewall)
        holds(guest, "mozilla_t", "named_t")
    finally:
        guest.run("semodule -X 450 -r theirs", timeout=SECONDS, check=True)


def test_more_audiences_than_slots(firewall: Firewall, guest: Guest) -> None:
    """Subsets of five domains, one place each, all at once and again without one of them."""
    domains = ("mozilla_t", "named_t", "irc_t", "squid_t", "chromium_t", "postgresql_t")
    sets = [s for n in (2, 3, 4) for s in itertools.combinations(domains, n)][:45]
    places = [f"203.0.113.{number}" for number in range(1, len(sets) + 1)]
    lines = [f'[[guard]]\ndestination = "{place}"\n' for place in (PLACE, *places)]
    lines += [
        f'[[grant]]\ndomain = "{domain}"\ndestination = "{place}"\n'
        for place, members in zip(places, sets, strict=True)
        for domain in members
    ]
    lines.append(f'[[grant]]\ndomain = ["mozilla_t", "named_t"]\ndestination = "{PLACE}"\n')
    guest.write("/root/many.toml", "\n".join(lines).encode())
    firewall.ctl("apply", "/root/many.toml", "--yes")
    holds(guest, "mozilla_t", "named_t")
    rows = {row["label"]: row for row in firewall.json("rules")["labels"]}
    users = {tuple(row["send"]) for row in rows.values()}
    assert users >= {tuple(sorted(members)) for members in sets}
    firewall.revoke("named_t", places[0])
    holds(guest, "mozilla_t", "named_t")


def test_a_domain_outside_never_gets_in_while_audiences_come_and_go(
    firewall: Firewall, guest: Guest
) -> None:
    """irc_t tries all the time, while slots are taken and let go around a place that it has not."""
    firewall.guard(PLACE)
    firewall.guard(OTHER)
    changes = "\n".join(
        f"for d in {' '.join(pair)}; do busctl --timeout={SECONDS:.0f} call {' '.join(MANAGER)} "
        f"{verb} 'ssa{{sv}}' $d {place} 0 >/dev/null || echo failed; done"
        for pair, place in [
            (("mozilla_t", "named_t"), PLACE),
            (("irc_t", "named_t"), OTHER),
            (("irc_t", "squid_t"), OTHER),
        ]
        for verb in ("Grant", "Revoke")
    )
    guest.write("/root/changes.sh", f"for n in 1 2 3 4 5; do\n{changes}\ndone\n".encode())
    guest.run("systemd-run --unit=changes sh /root/changes.sh", check=True)
    passed = bursts = 0
    while guest.run("systemctl is-active changes").out.strip() == "active":
        for fresh in (False, True):
            passed += guest.probe.burst("irc_t", (HOST, PORT), 200, fresh=fresh).passed
        bursts += 1
        time.sleep(1)  # the one processor is the daemon's too, which hears of each try
    assert passed == 0
    assert bursts > 10
    assert "failed" not in guest.run("journalctl -u changes").out


def test_after_a_reboot_slots_are_what_they_were_for(installed: Snapshot) -> None:
    with restore(installed) as guest:
        firewall = Firewall(guest)
        only_mozilla(firewall)
        firewall.grant("named_t", PLACE)
        guest.reboot(power_cut=True)
        guest.run("systemctl is-system-running --wait", timeout=SECONDS)
        guest.probe.serve((HOST, PORT), netns="peer")
        holds(guest, "mozilla_t", "named_t")
        firewall.revoke("named_t", PLACE)
        holds(guest, "mozilla_t")
