"""Which domains run and where they are connected, and which domain a program would run in."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from .firewall import SECONDS, Firewall
from .lab.guest import Guest, Process, runcon
from .lab.probe import ProbeSocket

PEER, PEER6, OURS, OURS6, PORT = "10.9.0.5", "fd09::5", "10.9.0.1", "fd09::1", 3128
PYTHON = "/usr/bin/python3"
HOLDS = """
import socket, sys, time
held = [socket.create_connection((host, int(port)), source_address=(source, 0)) for
        source, host, port in (word.split("=") for word in sys.argv[1:])]
time.sleep(3600)
"""
SERVES = """
import socket, threading, time
kept = []
for family, host in ((socket.AF_INET, "10.9.0.1"), (socket.AF_INET6, "fd09::1")):
    server = socket.create_server((host, 3128), family=family)
    kept.append(server)
    threading.Thread(target=lambda s=server: [kept.append(s.accept()) for _ in range(9)]).start()
time.sleep(3600)
"""


def _started(guest: Guest, words: list[str], sockets: int, netns: str = "") -> Process:
    """Start a program; return when it has so many sockets.

    What it writes is lost: its domain has no right to the agent's pipe.
    """
    process = guest.spawn(words, netns=netns)
    deadline = time.monotonic() + SECONDS
    while _sockets(guest, process.pid, netns) < sockets:
        assert process.poll() is None, process.output()
        assert time.monotonic() < deadline, guest.run("ss -tanp", netns=netns).out
        time.sleep(0.2)
    return process


def _sockets(guest: Guest, pid: int, netns: str) -> int:
    shown = guest.run("ss -Htanp state listening state established", check=True, netns=netns).out
    return shown.count(f"pid={pid},")


def _holder(domain: str, *places: tuple[str, str]) -> list[str]:
    """Return a program that is connected from each of the addresses to the other one."""
    words = (f"{ours}={theirs}={PORT}" for ours, theirs in places)
    return [*runcon(domain), PYTHON, "-c", HOLDS, *words]


class Town:
    """A browser, a proxy, and who else has sockets."""

    def __init__(self, firewall: Firewall) -> None:
        self.firewall, guest = firewall, firewall.guest
        for host in (PEER, PEER6):
            guest.probe.serve((host, PORT), netns="peer")
        self.mark = guest.mark()
        self.programs = [
            _started(guest, [*runcon("squid_t"), PYTHON, "-c", SERVES], 2),
            _started(guest, _holder("mozilla_t", (OURS, PEER), (OURS6, PEER6)), 2),
            _started(guest, _holder("irc_t", (PEER, OURS), (PEER6, OURS6)), 2, netns="peer"),
            _started(guest, ["unshare", "-U", PYTHON, "-c", HOLDS, f"{OURS}={PEER}={PORT}"], 1),
        ]
        # Held by the agent, as by systemd where it starts a service by its socket.
        self.socket: ProbeSocket = guest.probe.open("named_t", (PEER, PORT)).opened()

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["domain"]: row for row in self.firewall.json("domains")}


@pytest.fixture(scope="module")
def town(firewall: Firewall) -> Iterator[Town]:
    made = Town(firewall)
    yield made
    for program in made.programs:
        program.kill()
    made.socket.close()


def _said(row: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(c["direction"], c["destination"], c["namespace"]) for c in row["connections"]]


def test_a_browser_is_connected_out_and_a_proxy_in(town: Town) -> None:
    rows = town.rows()
    assert _said(rows["mozilla_t"]) == [
        ("out", f"{PEER}:{PORT}/tcp", 0),
        ("out", f"[{PEER6}]:{PORT}/tcp", 0),
    ]
    assert _said(rows["squid_t"]) == [
        ("in", f"{PEER}:{PORT}/tcp", 0),
        ("in", f"[{PEER6}]:{PORT}/tcp", 0),
    ]
    for domain in ("mozilla_t", "squid_t"):
        (program,) = rows[domain]["programs"]
        assert program.startswith("/usr/bin/python3")
        assert rows[domain]["processes"] == 1
    first = rows["mozilla_t"]["connections"][0]
    assert (first["peer"], first["peer_port"], first["local"]) == (PEER, PORT, OURS)


def test_a_socket_is_of_the_domain_that_the_kernel_checks(town: Town) -> None:
    rows = town.rows()
    assert _said(rows["named_t"]) == [("out", f"{PEER}:{PORT}/tcp", 0)]
    assert (rows["named_t"]["processes"], rows["named_t"]["programs"]) == (0, [])
    assert rows["named_t"]["connections"][0]["local_port"] == town.socket.local[1]


def test_namespaces_of_network_and_of_users_hide_nothing(town: Town) -> None:
    rows = town.rows()
    number = int(town.firewall.guest.run("stat -Lc %i /run/netns/peer", check=True).out)
    assert _said(rows["irc_t"]) == [
        ("out", f"{OURS}:{PORT}/tcp", number),
        ("out", f"[{OURS6}]:{PORT}/tcp", number),
    ]
    assert ("out", f"{PEER}:{PORT}/tcp", 0) in _said(rows["unconfined_t"])


def test_the_rest_of_the_machine_is_there_and_no_thread_of_the_kernel(town: Town) -> None:
    rows = town.rows()
    assert {"init_t", "appfwd_t", "syslogd_t", "system_dbusd_t", "policykit_t"} <= set(rows)
    assert "kernel_t" not in rows
    assert rows["init_t"]["programs"] == ["/usr/lib/systemd/systemd"]
    (daemon,) = rows["appfwd_t"]["programs"]
    assert daemon.startswith("/usr/bin/python3")
    assert [row for row in rows.values() if not row["complete"]] == []
    guest = town.firewall.guest
    shown = guest.run("ps -eo ppid=,pid=,label=", check=True).out.splitlines()
    processes = [line.split() for line in shown]
    running = {label.split(":")[2] for parent, own, label in processes if "2" not in (parent, own)}
    # ps itself, and what started it, are no more.
    assert running - {"unconfined_t"} <= set(rows)


def test_grants_are_counted_and_all_is_shown_to_people(town: Town) -> None:
    town.firewall.grant("mozilla_t", f"{PEER}:{PORT}")
    try:
        assert town.rows()["mozilla_t"]["grants"] == 1
        said = town.firewall.ctl("domains", "--domain", "mozilla_t").out
    finally:
        town.firewall.revoke("mozilla_t", f"{PEER}:{PORT}")
    (line,) = said.splitlines()
    assert line.split("\t")[:3] == ["mozilla_t", "1", "1"]
    assert f"out {PEER}:{PORT}/tcp" in line


def test_the_daemon_was_refused_nothing_for_it(town: Town) -> None:
    town.rows()
    guest = town.firewall.guest
    assert guest.run("getenforce", check=True).out == "Enforcing\n"
    assert [str(a) for a in guest.avcs(town.mark) if "appfwd_t" in (a.source, a.target)] == []


def test_the_daemon_may_look_and_not_touch(town: Town) -> None:
    """It has the capability to trace; policy does not let it, nor read anybody's memory."""
    query = "sesearch -A -s appfwd_t -c process -p ptrace"
    assert town.firewall.guest.run(query, check=True, timeout=120).out.split() == []
