"""Denials by the real kernel are asked about, and answers let the next try through."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from .firewall import SECONDS, Firewall
from .lab.guest import Guest, runcon
from .test_changes import until
from .test_pool import policies

#: A domain that the guest's first grants left out.
NEVER = "fetchmail_t"
HOST, OTHER, HOST6, PORT = "10.9.0.5", "10.9.0.6", "fd09::5", 3128
OURS = "10.9.0.1"
Row = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def fenced(firewall: Firewall) -> None:
    """Serve in `peer`; fence two domains, so that what an answer needs is not there by chance."""
    probe = firewall.guest.probe
    for host in (HOST, OTHER, HOST6):
        for kind in ("tcp", "udp"):
            probe.serve((host, PORT), kind=kind, netns="peer")
    for domain in ("mozilla_t", "irc_t"):
        firewall.call("Fence", "sa{sv}", domain, "0")


@pytest.fixture(autouse=True)
def asked_nothing(firewall: Firewall, guest: Guest) -> Iterator[Guest]:
    yield guest
    for row in firewall.rows("ListPending"):
        firewall.call("Answer", "ssa{sv}", row["id"], "block", "0")
    for row in firewall.rows("ListBlocked"):
        way = ["1", "direction", "s", row["direction"]]
        firewall.call("Unblock", "ssa{sv}", row["domain"], row["destination"], *way)


def pending(firewall: Firewall) -> list[Row]:
    return firewall.rows("ListPending")


def asked(firewall: Firewall, count: int = 1) -> list[Row]:
    """Return what is asked, once it is so much."""
    until(lambda: len(pending(firewall)) >= count)
    rows = pending(firewall)
    assert len(rows) == count, rows
    return rows


@pytest.mark.parametrize(
    ("kind", "host", "destination"),
    [
        ("tcp", HOST, f"{HOST}:{PORT}/tcp"),
        ("udp", HOST, f"{HOST}:{PORT}/udp"),
        ("tcp", HOST6, f"[{HOST6}]:{PORT}/tcp"),
        ("udp", HOST6, f"[{HOST6}]:{PORT}/udp"),
    ],
)
def test_a_refused_try_is_asked_about_with_its_protocol_and_answered(
    firewall: Firewall, guest: Guest, kind: str, host: str, destination: str
) -> None:
    assert guest.probe.reach("mozilla_t", (host, PORT), kind=kind) != "ok"
    (row,) = asked(firewall)
    assert (row["domain"], row["direction"], row["destination"]) == (
        "mozilla_t",
        "out",
        destination,
    )
    other = "udp" if kind == "tcp" else "tcp"
    said = firewall.ctl("answer", row["id"][:6], "allow", "--for", "10m").out
    assert said == f"granted: {destination} to mozilla_t, for 10m\n"
    assert guest.probe.reach("mozilla_t", (host, PORT), kind=kind) == "ok"
    assert guest.probe.reach("irc_t", (host, PORT), kind=kind) != "ok"
    assert guest.probe.reach("mozilla_t", (host, PORT), kind=other) != "ok"


def test_an_answer_of_a_domain_that_had_grants_takes_no_policy_load(
    firewall: Firewall, guest: Guest
) -> None:
    """The domain is enrolled, and so are all others, whom the answer adds it to."""
    loads = policies(guest)
    guest.probe.reach("irc_t", (OTHER, PORT))
    (row,) = asked(firewall)
    firewall.ctl("answer", row["id"], "allow", "--boot")
    assert guest.probe.reach("irc_t", (OTHER, PORT)) == "ok"
    guest.probe.reach("irc_t", (HOST, PORT), kind="udp")
    (row,) = asked(firewall)
    firewall.ctl("answer", row["id"], "allow")
    assert guest.probe.reach("irc_t", (HOST, PORT), kind="udp") == "ok"
    assert policies(guest) == loads


def test_a_domain_that_never_had_a_grant_is_made_ready_before_anybody_answers(
    firewall: Firewall, guest: Guest
) -> None:
    # All but the domains fenced before are a group, which is just what the first would need.
    for domain in (NEVER, "chronyd_t"):
        firewall.call("Fence", "sa{sv}", domain, "0")
    loads = policies(guest)
    guest.probe.reach(NEVER, (OTHER, PORT))
    (row,) = asked(firewall)
    # Making ready rests four times as long as it took before.
    until(lambda: policies(guest) > loads, 300)
    loads = policies(guest)
    firewall.ctl("answer", row["id"], "allow")
    assert guest.probe.reach(NEVER, (OTHER, PORT)) == "ok"
    assert policies(guest) == loads


def test_inbound_tries_are_asked_about_by_our_port(firewall: Firewall, guest: Guest) -> None:
    server = guest.probe.serve((OURS, 8080), domain="mozilla_t")
    assert guest.probe.reach("", (OURS, 8080), netns="peer") != "ok"
    (row,) = asked(firewall)
    assert (row["direction"], row["destination"]) == ("in", f"{HOST}:8080/tcp")
    firewall.ctl("answer", row["id"], "allow", "--scope", "port", "--for", "10m")
    assert guest.probe.reach("", (OURS, 8080), netns="peer") == "ok"
    server.close()


def test_a_block_is_quiet_and_refused_all_the_same(firewall: Firewall, guest: Guest) -> None:
    guest.probe.reach("mozilla_t", (OTHER, PORT))
    (row,) = asked(firewall)
    firewall.ctl("answer", row["id"], "block")
    assert guest.probe.reach("mozilla_t", (OTHER, PORT)) != "ok"
    rows = firewall.json("denied", "--domain", "mozilla_t")
    (line,) = (one for one in rows if one["destination"] == f"{OTHER}:{PORT}/tcp")
    assert (line["cause"], line["blocked"]) == ("fenced", True)
    assert pending(firewall) == []


def test_guarded_and_others_denials_are_told_and_not_asked_about(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.guard(f"{OTHER}:{PORT}")
    for domain in ("mozilla_t", "named_t"):
        assert guest.probe.reach(domain, (OTHER, PORT)) != "ok"

    def causes() -> dict[str, str]:
        rows = firewall.json("denied")
        return {r["domain"]: r["cause"] for r in rows if r["destination"].startswith(OTHER)}

    until(lambda: causes().get("named_t") == "guarded")
    assert pending(firewall) == []


def test_ten_thousand_places_of_one_domain_cost_few_questions(
    firewall: Firewall, guest: Guest
) -> None:
    guest.probe.reach("mozilla_t", (HOST, PORT), kind="udp")
    asked(firewall)
    begun = time.monotonic()
    script = (
        "import socket\n"
        "for n in range(10000):\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    try: s.sendto(b'x', (f'10.9.{n >> 8}.{n & 255}', 9))\n"
        "    except OSError: pass\n"
        "    s.close()\n"
    )
    storm = guest.spawn([*runcon("mozilla_t"), "python3", "-c", script])
    (row,) = (r for r in pending(firewall) if r["destination"] == f"{HOST}:{PORT}/udp")
    firewall.ctl("answer", row["id"], "allow", "--for", "10m")
    answered = time.monotonic() - begun
    assert guest.probe.reach("mozilla_t", (HOST, PORT), kind="udp") == "ok"
    assert storm.wait() == 0
    rows = pending(firewall)
    assert len(rows) <= 32
    assert answered < SECONDS
    firewall.ctl("answer", rows[0]["id"], "block", "--scope", "domain")
    assert pending(firewall) == []
    memory = guest.run("systemctl show -P MemoryCurrent appfwd", check=True).out
    assert int(memory) < 300 << 20, memory
