"""Fences in the kernel: a fenced domain goes nowhere but where it is granted; others as before.

A fence costs two policy loads, so the module has one: the tests run in order, from the fence to its
end.
"""

import time

import pytest

from .firewall import SECONDS, Firewall
from .lab.avc import Avc
from .lab.guest import Guest

HOST, HOST6, OURS, OURS6 = "10.9.0.5", "fd09::5", "10.9.0.1", "fd09::1"
PORT, DNS = 3128, 53
Place = tuple[str, tuple[str, int]]
REFUSED, OK = "ECONNREFUSED", "ok"
#: Kinds of sockets by addresses that `peer` serves and that we serve ourselves.
FAR = [(kind, (host, PORT)) for kind in ("tcp", "udp") for host in (HOST, HOST6)]
NAMES = [(kind, (host, DNS)) for kind in ("tcp", "udp") for host in (HOST, HOST6)]
NEAR = [(kind, (host, PORT)) for kind in ("tcp", "udp") for host in ("127.0.0.1", "::1")]
#: Every right to packets, of every domain, as the loaded policy has it.
RIGHTS = """
import setools
setools.PortconRange.MIN = 0
policy = setools.SELinuxPolicy("/sys/fs/selinux/policy")
for rule in policy.terules():
    if str(rule.tclass) == "packet" and rule.ruletype is setools.TERuletype.allow:
        for source in rule.source.expand():
            for target in rule.target.expand():
                for permission in rule.perms:
                    if not str(target).startswith("appfwd_"):
                        print(source, target, permission)
"""


@pytest.fixture(scope="module", autouse=True)
def before(firewall: Firewall) -> set[str]:
    """Serve echo in `peer` and on loopback; return the rights before the fence."""
    probe = firewall.guest.probe
    for kind, address in (*FAR, *NAMES):
        probe.serve(address, kind=kind, netns="peer")
    for kind, address in NEAR:
        probe.serve(address, kind=kind, domain="squid_t")
    return rights(firewall.guest)


def reached(guest: Guest, domain: str, places: list[Place]) -> list[str]:
    return [guest.probe.reach(domain, target, kind=kind, seconds=3) for kind, target in places]


def rights(guest: Guest) -> set[str]:
    """Return (domain, label, permission) of all labels but ours."""
    return set(guest.run(["python3", "-c", RIGHTS], check=True).out.splitlines())


def change_under_traffic(guest: Guest, *words: str) -> str:
    """Run appfwctl while mozilla_t talks on sockets that it may keep; none of it is refused."""
    places = [("tcp", (HOST, PORT)), ("udp", (HOST, PORT)), *NAMES, *NEAR]
    kept = [guest.probe.open("mozilla_t", to, kind=kind).opened() for kind, to in places]
    mark, echoes = guest.mark(), 0
    change = guest.spawn(["appfwctl", *words])
    while change.poll() is None:
        for socket in kept:
            assert socket.echo().ok
            echoes += 1
        time.sleep(0.1)  # the one processor is the policy build's too
    assert change.wait(SECONDS) == 0, change.output()
    assert echoes > 10 * len(kept)
    ends = {(host, str(port)) for _, (host, port) in places}  # not what earlier sockets repeat
    refused = [avc for avc in guest.avcs(mark) if avc.tclass == "packet"]
    assert [str(a) for a in refused if {*_ends(a)} & ends] == []
    for socket in kept:
        socket.close()
    return change.output()


def _ends(avc: Avc) -> list[tuple[str, str]]:
    """Return the address and port at each end of a packet's record."""
    keys = (("saddr", "src"), ("daddr", "dest"))
    return [(avc.fields.get(host, ""), avc.fields.get(port, "")) for host, port in keys]


def test_the_kernel_itself_is_not_fenced(firewall: Firewall) -> None:
    answer = firewall.ctl("fence", "kernel_t", "--yes", check=False)
    assert answer.rc == 2
    assert "kernel itself" in answer.err


def test_fencing_interrupts_nothing_that_stays(firewall: Firewall, guest: Guest) -> None:
    firewall.grant("mozilla_t", f"{HOST}:{PORT}")
    cut = guest.probe.open("mozilla_t", (HOST6, PORT)).opened()
    assert cut.echo().ok
    assert change_under_traffic(guest, "fence", "mozilla_t") == (
        "fenced: mozilla_t goes nowhere but where it is granted (loopback and DNS stay)\n"
    )
    assert not cut.echo(seconds=2).ok
    cut.close()


def test_it_reaches_only_its_grants_and_others_what_they_did(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.grant("mozilla_t", f"{HOST}:{PORT}")
    assert reached(guest, "mozilla_t", FAR) == [OK, REFUSED, OK, REFUSED]
    assert reached(guest, "mozilla_t", [*NAMES, *NEAR]) == [OK] * 8
    assert reached(guest, "irc_t", [*FAR, *NAMES, *NEAR]) == [OK] * 12
    firewall.revoke("mozilla_t", f"{HOST}:{PORT}")
    earlier = {avc.fields.get("src") for avc in guest.avcs()}  # sockets that may say it again
    mark = guest.mark()
    assert reached(guest, "mozilla_t", FAR) == [REFUSED] * 4
    denied = {
        (avc.source, avc.target)
        for avc in guest.wait_avcs(mark)
        if avc.tclass == "packet" and avc.fields.get("src") not in earlier
    }
    assert denied == {("mozilla_t", "appfwd_new_tcp_t"), ("mozilla_t", "appfwd_new_udp_t")}
    firewall.grant("mozilla_t", f"[{HOST6}]:{PORT}/udp")
    assert reached(guest, "mozilla_t", FAR) == [REFUSED, REFUSED, REFUSED, OK]
    assert reached(guest, "irc_t", FAR) == [OK] * 4
    firewall.revoke("mozilla_t", f"[{HOST6}]:{PORT}/udp")


def test_policy_has_no_right_of_it_left_and_every_one_of_others(
    guest: Guest, before: set[str]
) -> None:
    now = rights(guest)
    assert not {line for line in now if line.startswith("mozilla_t ")}
    assert {line.split()[0] for line in before - now} == {"mozilla_t"}


def test_inbound_it_serves_only_who_it_is_granted(firewall: Firewall, guest: Guest) -> None:
    served = [(kind, (host, 5432)) for kind in ("tcp", "udp") for host in (OURS, OURS6)]
    for kind, address in served:
        guest.probe.serve(address, kind=kind, domain="mozilla_t")

    def from_peer() -> list[bool]:
        return [
            guest.probe.reach("", target, kind=kind, netns="peer", seconds=2) == OK
            for kind, target in served
        ]

    assert from_peer() == [False] * 4
    firewall.grant("mozilla_t", "10.0.0.0/8:5432", inbound=True)
    assert from_peer() == [True, False, True, False]
    firewall.revoke("mozilla_t", "10.0.0.0/8:5432", inbound=True)


def test_a_peer_that_speaks_first_does_not_open_it(guest: Guest) -> None:
    """The flow is conntrack's idea of inbound, from a place that it may not reach; then again."""
    socket = guest.probe.open("mozilla_t", bind=(OURS, 40111), kind="udp").opened()
    server = guest.probe.serve((HOST, 4999), kind="udp", netns="peer")
    for _ in range(50):
        server.send(b"first", (OURS, 40111))
        assert not socket.send(b"answer", (HOST, 4999)).ok
    assert server.state().messages == 0
    socket.close()
    server.close()


def test_thousands_of_tries_pass_nothing(guest: Guest) -> None:
    server = guest.probe.serve((HOST, 4998), kind="udp", netns="peer")
    for fresh in (False, True):
        burst = guest.probe.burst("mozilla_t", (HOST, 4998), 2000, fresh=fresh, server=server)
        assert burst.passed == 0
    server.close()


def test_neither_loopback_nor_names_where_that_is_asked_for(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.ctl("fence", "mozilla_t", "--no-loopback")
    assert reached(guest, "mozilla_t", [*NAMES, *NEAR]) == [OK] * 4 + [REFUSED] * 4
    firewall.ctl("fence", "mozilla_t", "--no-dns")
    assert reached(guest, "mozilla_t", [*NAMES, *NEAR]) == [REFUSED] * 4 + [OK] * 4
    (row,) = firewall.json("list", "--kind", "fence")
    assert (row["domain"], row["spares"]) == ("mozilla_t", ["loopback"])
    firewall.ctl("fence", "mozilla_t")


def test_a_fence_outlives_the_daemon_and_a_flush_under_it(firewall: Firewall, guest: Guest) -> None:
    guest.run("nft flush ruleset", timeout=SECONDS)
    assert reached(guest, "mozilla_t", [*FAR, *NEAR]) == [REFUSED] * 4 + [OK] * 4
    guest.run("systemctl stop appfwd", timeout=SECONDS, check=True)
    assert reached(guest, "mozilla_t", [*FAR, *NEAR]) == [REFUSED] * 4 + [OK] * 4
    firewall.restart()
    assert reached(guest, "mozilla_t", [*FAR, *NEAR]) == [REFUSED] * 4 + [OK] * 4
    assert [row["kind"] for row in firewall.json("list")] == ["fence"]


def test_with_the_baseline_it_has_no_label_of_policy_left(firewall: Firewall, guest: Guest) -> None:
    """On loopback it goes on with those that policy let it have, and gains none."""
    web, web_here, odd_here = (HOST, 80), ("127.0.0.1", 80), ("127.0.0.1", 4711)
    guest.probe.serve(web, netns="peer")
    for place in (web_here, odd_here):
        guest.probe.serve(place, domain="unconfined_t")
    places = [("tcp", place) for place in (web, web_here, odd_here)]
    assert reached(guest, "mozilla_t", places) == [REFUSED, OK, OK]
    firewall.ctl("baseline", "on", "--yes")
    assert reached(guest, "mozilla_t", places) == [REFUSED, OK, REFUSED]
    firewall.grant("mozilla_t", f"{HOST}:80/tcp")
    assert reached(guest, "mozilla_t", places) == [OK, OK, REFUSED]
    firewall.revoke("mozilla_t", f"{HOST}:80/tcp")
    firewall.ctl("baseline", "off", "--yes")


def test_unfencing_interrupts_nothing_and_gives_back_all_that_was(
    firewall: Firewall, guest: Guest, before: set[str]
) -> None:
    firewall.grant("mozilla_t", f"{HOST}:{PORT}")
    said = change_under_traffic(guest, "unfence", "mozilla_t")
    assert said == "no longer fenced: mozilla_t\n"
    assert reached(guest, "mozilla_t", [*FAR, *NAMES, *NEAR]) == [OK] * 12
    assert rights(guest) == before
