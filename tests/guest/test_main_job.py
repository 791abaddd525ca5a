"""The recipe's scenario with real programs: only one domain reaches the proxy."""

import json

import pytest

from .firewall import Firewall
from .lab.guest import Guest

PROXY, PROXY6, PORT = "10.9.0.5", "fd09::5", 3128
OTHERS = ["chromium_t", "named_t", "irc_t", "user_t", ""]


@pytest.fixture(scope="module", autouse=True)
def proxy(firewall: Firewall) -> None:
    """Serve TCP and UDP echo in namespace `peer`, on the proxy's port and one beside it."""
    probe = firewall.guest.probe
    for kind in ("tcp", "udp"):
        for address in (PROXY, "10.9.0.6", PROXY6, "fd09::6"):
            for port in (PORT, PORT + 1):
                probe.serve((address, port), kind=kind, netns="peer")


def test_before_anything_is_guarded_nothing_is_labelled(firewall: Firewall, guest: Guest) -> None:
    for domain in ["mozilla_t", *OTHERS]:
        assert guest.probe.reach(domain, (PROXY, PORT)) == "ok"
    assert "secmark" not in guest.run("nft list ruleset", check=True).out
    assert firewall.json("rules")["labels"] == []


@pytest.mark.parametrize("address", [PROXY, PROXY6])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_guard_shuts_everybody_out_and_a_grant_lets_one_in(
    firewall: Firewall, guest: Guest, address: str, kind: str
) -> None:
    place = f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}"
    firewall.guard(place)
    for domain in ["mozilla_t", *OTHERS]:
        assert guest.probe.reach(domain, (address, PORT), kind=kind) == "ECONNREFUSED"
    firewall.grant("mozilla_t", place)
    assert guest.probe.reach("mozilla_t", (address, PORT), kind=kind) == "ok"
    for domain in OTHERS:
        assert guest.probe.reach(domain, (address, PORT), kind=kind) == "ECONNREFUSED"
    firewall.revoke("mozilla_t", place)
    assert guest.probe.reach("mozilla_t", (address, PORT), kind=kind) == "ECONNREFUSED"
    firewall.unguard(place)
    assert guest.probe.reach("chromium_t", (address, PORT), kind=kind) == "ok"


def test_nothing_else_is_touched_by_a_guard(firewall: Firewall, guest: Guest) -> None:
    firewall.guard(f"{PROXY}:{PORT}")
    for domain in ["mozilla_t", *OTHERS]:
        for target in ((PROXY, PORT + 1), ("10.9.0.6", PORT), (PROXY6, PORT)):
            assert guest.probe.reach(domain, target) == "ok"
            assert guest.probe.reach(domain, target, kind="udp") == "ok"
        assert guest.probe.ping(domain, PROXY).ok


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("curl", ["/usr/bin/curl", "-sS", "--http0.9", "-m", "5", f"http://{PROXY}:{PORT}/hello"]),
        ("nc", ["/bin/bash", "-c", f"echo hello | /usr/bin/nc -q 1 -w 5 {PROXY} {PORT}"]),
        (
            "python",
            [
                "/usr/bin/python3",
                "-c",
                (
                    f"import socket; s = socket.create_connection(('{PROXY}', {PORT}), 5);"
                    "s.sendall(b'hello'); print(s.recv(9).decode())"
                ),
            ],
        ),
    ],
)
def test_real_programs_are_let_through_or_refused_by_their_domain(
    firewall: Firewall, guest: Guest, program: str, words: list[str]
) -> None:
    firewall.guard(f"{PROXY}:{PORT}")
    firewall.grant("mozilla_t", f"{PROXY}:{PORT}")
    mark = guest.mark()
    allowed = guest.run_as("mozilla_t", words)
    assert "hello" in allowed.out, (program, allowed)
    assert not [avc for avc in guest.avcs(mark) if avc.tclass == "packet"]
    refused = guest.run_as("chromium_t", words)
    assert "hello" not in refused.out, (program, refused)
    denials = [avc for avc in guest.wait_avcs(mark) if avc.tclass == "packet"]
    assert {avc.source for avc in denials} == {"chromium_t"}
    assert {avc.target for avc in denials} == {"appfwd_only_mozilla_t_packet_t"}


def test_the_command_line_tells_the_whole_story(firewall: Firewall, guest: Guest) -> None:
    place = f"{PROXY}:{PORT}"
    assert f"nobody reaches {place}" in firewall.ctl("guard", place).out
    assert "granted" in firewall.ctl("grant", "mozilla_t", place).out
    assert firewall.entries() == {
        ("guard", "", "out", place),
        ("grant", "mozilla_t", "out", place),
    }
    assert guest.probe.reach("mozilla_t", (PROXY, PORT)) == "ok"
    rules = firewall.json("rules")
    labels = {row["label"]: row for row in rules["labels"]}
    assert labels["appfwd_only_mozilla_t_packet_t"]["send"] == ["mozilla_t"]
    assert {(r["peer"], r["protocols"], r["ports"]) for r in rules["elements"]} >= {
        (PROXY, "tcp", str(PORT)),
        (PROXY, "udp", str(PORT)),
    }
    assert sum(row["packets"] for row in rules["counters"]) > 0
    denied = firewall.ctl("explain", "chromium_t", place, check=False)
    assert denied.rc == 20
    assert denied.out.startswith("denied: chromium_t may not send and recv")
    assert f"appfwctl grant chromium_t {place}" in denied.out
    assert firewall.ctl("explain", "mozilla_t", place).out.startswith("allowed")
    assert firewall.ctl("explain", "mozilla_t", "any:443").out.startswith("allowed")
    assert firewall.ctl("explain", "chromium_t", f"{PROXY}", check=False).rc == 21
    assert "revoked" in firewall.ctl("revoke", "mozilla_t", place).out
    assert firewall.ctl("explain", "mozilla_t", place, check=False).rc == 20


def test_the_call_of_the_documentation_works(firewall: Firewall, guest: Guest) -> None:
    firewall.guard("10.0.0.5:3128")
    answer = firewall.call("Grant", "ssa{sv}", "mozilla_t", "10.0.0.5:3128", "0").out
    rows = firewall.json("list", "--kind", "grant")
    assert answer == f's "{rows[0]["id"]}"\n'
    assert guest.run("systemctl is-active appfwd", check=True).out == "active\n"


def test_the_daemon_is_confined_and_was_refused_nothing(firewall: Firewall, guest: Guest) -> None:
    assert "system_u:system_r:appfwd_t:s0" in guest.run("ps -eZ | grep appfwd").out
    assert [avc for avc in guest.avcs() if "appfwd_t" in (avc.source, avc.target)] == []
    assert firewall.json("status") == {
        "Active": True,
        "Baseline": False,
        "Bridge": "open",
        "Deadline": 0.0,
        "Enforcing": True,
        "Problem": "",
        "Strict": False,
        "Warnings": [],
        "Version": "0.1.0",
    }


def test_every_change_is_a_structured_record_of_the_journal(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.grant("mozilla_t", "203.0.113.77:443")
    query = "journalctl -u appfwd APPFWD_DESTINATION=203.0.113.77:443 -o json --no-pager"
    (line,) = guest.run(query, check=True).out.splitlines()
    record = json.loads(line)
    wanted = {"KIND": "grant", "DOMAIN": "mozilla_t", "UID": "0", "CHANGE": "added"}
    assert {key: record[f"APPFWD_{key}"] for key in wanted} == wanted
    assert record["PRIORITY"] == "6"
