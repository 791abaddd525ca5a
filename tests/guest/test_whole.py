"""The whole state from one file, in the kernel: foretold, all at once, or not at all."""

import time
from typing import Any

import pytest

from .firewall import Firewall
from .lab.guest import Guest, Result
from .place import HOST, PLACE, PORT, TRIED, holds

FILE = "/root/firewall.toml"
ONE = f"""
[[guard]]
destination = "{PLACE}"

[[grant]]
domain = ["mozilla_t", "named_t"]
destination = "{PLACE}"
"""
COUNT = 10_000
#: Prints how many policies the kernel loaded (it writes its capabilities down each time), how many
#: transactions of nftables there were (NFT_MSG_GETGEN), and of these that had flows keep labels.
COUNTERS = """
import socket, struct, subprocess
def logged(*words):
    return subprocess.run(["journalctl", "-o", "cat", *words[:-1]], capture_output=True, text=True
        ).stdout.count(words[-1])
loads = logged("-k", "policy capability open_perms")
epochs = logged("-u", "appfwd", "flows keep their labels, epoch")
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netfilter:
    netfilter.send(struct.pack("=IHHIIBBH", 20, 10 << 8 | 16, 1, 1, 0, 0, 0, 0))
    print(loads, struct.unpack(">I", netfilter.recv(4096)[24:28])[0], epochs)
"""
LONG = 600.0


@pytest.fixture(scope="module", autouse=True)
def _server(firewall: Firewall) -> None:
    firewall.guest.probe.serve((HOST, PORT), netns="peer")


def counters(guest: Guest) -> tuple[int, int]:
    """Return how many loads of policies and transactions of nftables there were.

    Those that have flows keep their labels are left out: they come when the table has rest.
    """
    time.sleep(1.5)  # one that is about to come is over then
    said = guest.run(["python3", "-c", COUNTERS], check=True).out
    loads, transactions, epochs = map(int, said.split())
    return loads, transactions - epochs


def since(guest: Guest, before: tuple[int, int]) -> tuple[int, int]:
    """Return how many loads and transactions there were since."""
    loads, transactions = counters(guest)
    return loads - before[0], transactions - before[1]


def command(guest: Guest, text: str, *words: str) -> Result:
    """Run a command of appfwctl on a document."""
    guest.write(FILE, text.encode())
    return guest.run(["appfwctl", *words, FILE], timeout=LONG)


def many(count: int = COUNT, *, wrong: int | None = None) -> str:
    """Return a document of so many grants of two domains, where one line may be wrong."""
    places = [f"10.{n >> 7 & 255}.{(n & 127) * 2}.1:443/tcp" for n in range(count // 2)]
    if wrong is not None:
        places[wrong] = places[wrong].replace(":", ";")
    lines = "\n".join(f'  "{place}",' for place in places)
    guard = f'[[guard]]\ndestination = ["10.0.0.0/8", "{PLACE}"]\n'
    own = f'[[grant]]\ndomain = "mozilla_t"\ndestination = "{PLACE}"\n'
    return (
        f'{guard}{own}[[grant]]\ndomain = ["mozilla_t", "named_t"]\ndestination = [\n{lines}\n]\n'
    )


def elements(firewall: Firewall) -> set[tuple[str, ...]]:
    keys = ("map", "direction", "peer", "protocols", "ports", "label")
    return {(*(row[key] for key in keys),) for row in firewall.json("rules")["elements"]}


def said(plan: Any, change: str) -> set[tuple[str, ...]]:
    keys = ("map", "direction", "peer", "protocols", "ports", "label")
    rows = [row for row in plan["elements"] if row["change"] == change]
    return {(*(row[key] for key in keys),) for row in rows}


def test_what_is_planned_is_what_happens_and_not_before(firewall: Firewall, guest: Guest) -> None:
    guest.write(FILE, ONE.encode())
    start, had = counters(guest), elements(firewall)
    plan = firewall.json("plan", "apply", FILE)
    assert since(guest, start) == (0, 0)
    holds(guest, *TRIED)
    (effect,) = plan["effects"]
    assert (effect["where"], effect["gains"]) == ([PLACE], [])
    assert "irc_t" in effect["loses"]
    assert not {"mozilla_t", "named_t"} & {*effect["loses"]}
    firewall.ctl("apply", FILE)
    assert since(guest, start) == (plan["policy_loads"], plan["transactions"])
    now = elements(firewall)
    assert (now - had, had - now) == (said(plan, "add"), said(plan, "remove"))
    holds(guest, "mozilla_t", "named_t")


def test_check_tells_by_its_status(firewall: Firewall, guest: Guest) -> None:
    firewall.ctl("apply", "--yes", FILE)
    start = counters(guest)
    assert command(guest, ONE, "apply", "--check").rc == 0
    other = ONE.replace('["mozilla_t", "named_t"]', '"irc_t"')
    done = command(guest, other, "apply", "--check")
    assert done.rc == 22
    assert f"  + grant irc_t out {PLACE}\n" in done.out
    assert f"  - grant named_t out {PLACE}\n" in done.out
    assert since(guest, start) == (0, 0)
    holds(guest, "mozilla_t", "named_t")
    assert command(guest, other, "apply").rc == 0
    holds(guest, "irc_t")


def test_what_is_exported_is_in_force_already(firewall: Firewall, guest: Guest) -> None:
    firewall.guard(PLACE)
    firewall.ctl("grant", "--for", "1h", "mozilla_t", PLACE)
    start = counters(guest)
    done = guest.run("appfwctl export | appfwctl apply -", check=True)
    assert (done.out, done.err) == ("applied: 0 came, 0 went\n", "")
    assert since(guest, start) == (0, 0)
    assert firewall.json("list")[-1]["ends"]
    holds(guest, "mozilla_t")


def test_ten_thousand_grants_are_one_transaction_and_one_load_at_the_most(
    firewall: Firewall, guest: Guest
) -> None:
    start = counters(guest)
    done = command(guest, many(), "apply")
    assert done.rc == 0, done
    assert done.out == f"applied: {COUNT + 3} came, 0 went\n"
    loads, transactions = since(guest, start)
    assert transactions == 1
    assert loads <= 1
    assert firewall.table().count("appfwd_these_") >= COUNT // 2
    holds(guest, "mozilla_t")
    firewall.call("Apply", "sa{sv}", "", "0")
    assert firewall.entries() == set()
    assert since(guest, start) == (loads, 2)
    holds(guest, *TRIED)


def test_one_wrong_line_among_them_changes_nothing(firewall: Firewall, guest: Guest) -> None:
    firewall.guard(PLACE)
    firewall.grant("irc_t", PLACE)
    start, table = counters(guest), firewall.table()
    text = many(wrong=3000)
    line = text[: text.index(";")].count("\n") + 1
    for words in (("apply",), ("apply", "--check"), ("plan", "apply")):
        done = command(guest, text, *words)
        assert (done.rc, done.out) == (2, "")
        assert done.err.startswith(f"appfwctl: {FILE}, line {line}, column 3: ")
    unknown = command(guest, ONE.replace("named_t", "namd_t"), "apply")
    assert unknown.rc == 2
    assert unknown.err.startswith(f"appfwctl: {FILE}, line 6, column 24: ")
    assert "named_t" in unknown.err
    assert since(guest, start) == (0, 0)
    assert firewall.table() == table
    holds(guest, "irc_t")
