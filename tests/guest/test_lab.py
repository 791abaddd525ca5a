"""The lab itself: what every other guest test takes for granted."""

import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .lab.cache import content_key
from .lab.errors import CommandError, GuestDiedError, RequestError
from .lab.guest import Guest
from .lab.host import TOOLS
from .lab.image import HERE
from .lab.qmp import Monitor
from .lab.store import Snapshot, derive, restore

DOMAINS = ["mozilla_t", "chromium_t", "named_t", "postgresql_t", "squid_t", "irc_t", "user_t"]
ADDRESSES = ["10.9.0.5", "10.9.0.6", "fd09::5"]
SECMARK = """
add table inet t
add secmark inet t s { "system_u:object_r:http_client_packet_t:s0" }
"""
PAGE = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture(scope="module")
def web(base_guest: Guest) -> int:
    """Return the port of echo servers, TCP and UDP, on the addresses of namespace `peer`."""
    for kind in ("tcp", "udp"):
        for address in ADDRESSES:
            base_guest.probe.serve((address, 8000), kind=kind, netns="peer")
    return 8000


def test_the_hosts_packages_are_listed() -> None:
    listed = set((HERE.parent / "apt-packages.txt").read_text().split())
    assert listed | {"util-linux"} == set(TOOLS.values())


def test_a_qemu_that_ends_before_it_greets_is_told_as_such(tmp_path: Path) -> None:
    """As where /dev/kvm is there and fits no stock guest; the kernel resets the connection."""
    path = tmp_path / "qmp"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        waiting = ThreadPoolExecutor(1).submit(Monitor, path, lambda: True)
        time.sleep(0.2)
    with pytest.raises(GuestDiedError):
        waiting.result(10)


def test_selinux_enforces_and_the_agent_is_unconfined(base_guest: Guest) -> None:
    assert base_guest.run("getenforce", check=True).out.strip() == "Enforcing"
    assert base_guest.sync().text("context") == "unconfined_u:unconfined_r:unconfined_t:s0"


def test_systemd_bus_and_polkit_are_up(base_guest: Guest) -> None:
    assert base_guest.run("systemctl --failed --no-legend", check=True).out == ""
    base_guest.run(["systemctl", "is-active", "dbus", "polkit"], check=True)


def test_clock_is_the_hosts(base_guest: Guest) -> None:
    seconds = float(base_guest.run("date +%s.%N", check=True).out)
    assert abs(time.time() - seconds) < 30


def test_booting_was_refused_nothing(base_guest: Guest) -> None:
    assert base_guest.avcs() == []


@pytest.mark.parametrize("address", ADDRESSES)
def test_programs_of_a_domain_reach_a_server(base_guest: Guest, address: str) -> None:
    server = base_guest.probe.serve((address, 0), netns="peer", greeting=PAGE)
    port = server.address[1]
    host = f"[{address}]" if ":" in address else address
    script = f"import socket; socket.create_connection(('{address}', {port})).close()"
    for argv, said in (
        (["/usr/bin/curl", "-sS", "--max-time", "20", f"http://{host}:{port}/"], "hello"),
        (["/usr/bin/python3", "-c", script], ""),
        (
            ["/bin/bash", "-c", f"echo more | nc -N -w 20 {address} {port} | tail -n 1"],
            "hellomore\n",
        ),
    ):
        result = base_guest.run_as("mozilla_t", argv)
        assert (result.rc, result.out, result.err) == (0, said, "")


@pytest.mark.parametrize("domain", DOMAINS)
def test_sockets_of_a_domain_reach_a_server(base_guest: Guest, web: int, domain: str) -> None:
    for address in ADDRESSES:
        assert base_guest.probe.reach(domain, (address, web)) == "ok"
        assert base_guest.probe.reach(domain, (address, web), kind="udp") == "ok"
        assert base_guest.probe.ping(domain, address).ok
    assert base_guest.probe.reach(domain, ("10.9.0.5", 9)) == "ECONNREFUSED"


def test_a_server_speaks_first(base_guest: Guest) -> None:
    probe = base_guest.probe
    greeter = probe.serve(("10.9.1.5", 7001), netns="peer2", domain="squid_t", greeting=b"hi")
    client = probe.open("mozilla_t", greeter.address).opened()
    assert client.receive().data == b"hi"
    assert greeter.send(b"more").ok
    assert client.receive().data == b"more"
    caller = probe.serve(("10.9.1.5", 7002), netns="peer2", kind="udp", echo=False)
    called = probe.open("mozilla_t", bind=("10.9.1.1", 0), kind="udp").opened()
    assert caller.send(b"knock", called.local).ok
    assert called.receive().data == b"knock"
    client.close()
    assert called.receive(seconds=0.2).outcome == "TIMEOUT"


def test_bursts_count_what_arrives(base_guest: Guest) -> None:
    probe = base_guest.probe
    sink = probe.serve(("10.9.0.5", 7003), netns="peer", kind="udp", echo=False)
    for fresh in (False, True):
        burst = probe.burst("named_t", sink.address, 500, fresh=fresh, server=sink)
        assert (burst.passed, burst.arrived) == (500, 500)


def test_a_secmark_object_turns_the_checks_on(fresh_guest: Guest) -> None:
    target = fresh_guest.probe.serve(("10.9.0.5", 8000), netns="peer").address
    assert fresh_guest.probe.reach("mozilla_t", target) == "ok"
    mark = fresh_guest.mark()
    fresh_guest.run(["nft", "-f", "-"], stdin=SECMARK, check=True)
    assert fresh_guest.probe.reach("mozilla_t", target) == "ECONNREFUSED"
    assert fresh_guest.probe.reach("unconfined_t", target) == "ok"
    denial = fresh_guest.wait_avcs(mark)[0]
    assert (denial.source, denial.target, denial.tclass) == ("mozilla_t", "unlabeled_t", "packet")
    assert denial.permissions == ("send",)
    assert (denial.fields["daddr"], denial.fields["dest"]) == ("10.9.0.5", "8000")
    fresh_guest.run("nft flush ruleset", check=True)
    assert fresh_guest.probe.reach("mozilla_t", target) == "ok"


def test_each_restored_guest_is_fresh(base: Snapshot) -> None:
    with restore(base) as one, restore(base) as other:
        one.write("/root/mark", "x")
        with pytest.raises(RequestError) as caught:
            other.read("/root/mark")
        assert caught.value.errno == "ENOENT"
        numbers = [guest.run("head -c 8 /dev/urandom | od -An -tx8").out for guest in (one, other)]
        assert numbers[0] != numbers[1]


def test_requests_do_not_wait_for_each_other(base_guest: Guest) -> None:
    slow = base_guest.spawn("echo started; sleep 600")
    with ThreadPoolExecutor() as pool:
        blocked = pool.submit(base_guest.run, "sleep 4; echo late")
        assert base_guest.run("echo now", check=True).out == "now\n"
        assert not blocked.done()
        assert blocked.result().out == "late\n"
    assert slow.poll() is None
    assert slow.output() == "started\n"
    slow.kill()
    assert slow.wait() == -15


def test_commands_tell_all(base_guest: Guest) -> None:
    result = base_guest.run("cat; echo $WORD >&2; exit 3", stdin="in", env={"WORD": "err"})
    assert (result.rc, result.out, result.err) == (3, "in", "err\n")
    assert base_guest.run("sleep 100", timeout=1).timed_out
    with pytest.raises(CommandError):
        base_guest.run("false", check=True)
    much = base_guest.run("head -c 3000000 /dev/zero | tr '\\0' x", check=True)
    assert len(much.out) == 3_000_000
    left_behind = base_guest.run("sleep 300 & echo done")
    assert left_behind.out == "done\n"
    assert left_behind.seconds < 60


def test_files_and_trees_go_in_and_out(base_guest: Guest, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    base_guest.write("/root/new/file", data, mode=0o600)
    assert base_guest.read("/root/new/file") == data
    (tmp_path / "a").mkdir()
    (tmp_path / "a/run").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "a/run").chmod(0o755)
    base_guest.push_tree(tmp_path, "/root/tree")
    assert base_guest.run("/root/tree/a/run").out == "ran\n"
    assert "unpack" not in base_guest.run("ls -A /root/tree").out


def test_derived_snapshots_hold_what_was_prepared(base: Snapshot) -> None:
    key = content_key("test_lab", HERE / "store.py")
    one = derive(base, key, lambda guest: guest.write("/root/one", "1"))
    two = derive(one, key, lambda guest: guest.write("/run/two", "2"))
    assert derive(base, key, lambda _: pytest.fail("made twice")) == one
    with restore(two) as guest:
        assert (guest.read("/root/one"), guest.read("/run/two")) == (b"1", b"2")
        assert guest.run("getenforce").out == "Enforcing\n"


def test_a_failed_preparation_leaves_nothing(base: Snapshot) -> None:
    with pytest.raises(CommandError):
        derive(base, "fails", lambda guest: guest.run("false", check=True))


def test_disk_outlives_reboots(fresh_guest: Guest) -> None:
    fresh_guest.write("/root/file", "kept")
    fresh_guest.write("/run/file", "lost")
    first = fresh_guest.sync().text("boot")
    fresh_guest.reboot()
    assert fresh_guest.read("/root/file") == b"kept"
    assert fresh_guest.run("test -e /run/file").rc == 1
    assert fresh_guest.sync().text("boot") != first
    assert fresh_guest.run("getenforce").out == "Enforcing\n"
    target = fresh_guest.probe.serve(("10.9.0.5", 8000), netns="peer").address
    assert fresh_guest.probe.reach("mozilla_t", target) == "ok"
    fresh_guest.run("echo synced > /root/synced; sync /root/synced", check=True)
    fresh_guest.reboot(power_cut=True)
    assert fresh_guest.read("/root/synced") == b"synced\n"


def test_a_module_can_be_loaded(fresh_guest: Guest) -> None:
    module = "(type appfwd_probe_t)\n(roletype object_r appfwd_probe_t)\n"
    fresh_guest.write("/root/probe.cil", module)
    fresh_guest.run(["semodule", "-i", "/root/probe.cil"], timeout=300, check=True)
    assert fresh_guest.run("seinfo -t appfwd_probe_t", timeout=120).rc == 0


def test_a_dead_guest_is_an_error_at_once(fresh_guest: Guest) -> None:
    with pytest.raises(GuestDiedError):
        fresh_guest.run("echo c > /proc/sysrq-trigger", timeout=300)
    with pytest.raises(GuestDiedError):
        fresh_guest.run("true")


@pytest.mark.usefixtures("base")
def test_a_guest_dies_with_its_process() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.guest.lab.store import base_snapshot, restore\n"
        "import os, signal\n"
        "guest = restore(base_snapshot())\n"
        "print(guest.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    argv = ["/usr/bin/python3", "-c", script, str(HERE.parents[2])]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    process = Path("/proc") / done.stdout.strip() / "stat"
    deadline = time.monotonic() + 30
    while process.exists() and " Z " not in process.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not process.exists() or " Z " in process.read_text()
