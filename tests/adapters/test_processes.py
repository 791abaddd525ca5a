"""What runs, from real processes and sockets of this machine, and from made-up ones."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appfwd.adapters import processes
from appfwd.adapters.processes import Labels, Look, ProcProcesses
from appfwd.model.destination import parse_destination
from appfwd.model.running import Connection, Running
from tests.adapters.running import Child, MadeUp, Told, children, line

PROC = Path("/proc")


@pytest.fixture
def labels() -> Told:
    return Told()


@pytest.fixture
def made(tmp_path: Path) -> MadeUp:
    return MadeUp(tmp_path)


def _look(labels: Labels, root: Path = PROC) -> dict[str, Running]:
    return {row.domain: row for row in Look(root, labels).running()}


def _ends(connection: Connection) -> tuple[str, str]:
    return connection.direction.value, connection.destination


def _said(row: Running) -> list[tuple[str, str]]:
    return [_ends(connection) for connection in row.connections]


LISTEN = """
server = socket.socket(socket.{family})
server.bind(("{address}", 0))
server.listen()
print(server.getsockname()[1])
"""
CONNECT = 'kept.append(socket.create_connection(("{address}", {port})))'


def _served(server: Child, client: Child, family: str, address: str) -> tuple[int, int]:
    """Have the client connected to the server; return the ports of both."""
    port = int(server.do(LISTEN.format(family=family, address=address)))
    reached = "127.0.0.1" if address == "::" else address
    client.do(CONNECT.format(address=reached, port=port))
    server.do("kept.append(server.accept()[0])")
    return port, client.value("kept[-1].getsockname()[1]")


@pytest.mark.parametrize(
    ("family", "address", "peer"),
    [
        ("AF_INET", "127.0.0.1", "127.0.0.1"),
        ("AF_INET6", "::1", "[::1]"),
        ("AF_INET6", "::", "127.0.0.1"),
    ],
    ids=["IPv4", "IPv6", "IPv4 at a socket of both"],
)
def test_both_ends_of_a_connection_are_told(
    labels: Told, family: str, address: str, peer: str
) -> None:
    with children(labels, squid_t=(), mozilla_t=()) as (server, client):
        ours, theirs = _served(server, client, family, address)
        found = _look(labels)
    assert _said(found["mozilla_t"]) == [("out", f"{peer}:{ours}/tcp")]
    (inbound,) = found["squid_t"].connections
    assert _ends(inbound) == ("in", f"{peer}:{ours}/tcp")
    assert (inbound.local.port, inbound.peer.port, inbound.namespace) == (ours, theirs, 0)
    assert inbound.local.host == inbound.peer.host == peer.strip("[]")
    assert (found["squid_t"].processes, found["mozilla_t"].processes) == (1, 1)
    assert found["squid_t"].complete
    for one in (*found["squid_t"].connections, *found["mozilla_t"].connections):
        assert str(parse_destination(one.destination, one.direction)) == one.destination


def test_what_only_listens_or_was_refused_or_closed_is_no_connection(labels: Told) -> None:
    with children(labels, squid_t=(), mozilla_t=()) as (server, client):
        _served(server, client, "AF_INET", "127.0.0.1")
        client.do("kept.pop().close()")
        server.do("kept.pop().close()")
        client.do('socket.socket().connect_ex(("127.0.0.1", 1))')
        found = _look(labels)
    assert _said(found["squid_t"]) == _said(found["mozilla_t"]) == []


def test_udp_has_a_connection_where_it_has_a_peer(labels: Told) -> None:
    with children(labels, squid_t=(), mozilla_t=()) as (server, client):
        for child in (server, client):
            child.do("kept.append(socket.socket(type=socket.SOCK_DGRAM, family=socket.AF_INET6))")
            child.do('kept[-1].bind(("::1", 0))')
        port = server.value("kept[-1].getsockname()[1]")
        assert _look(labels)["mozilla_t"].connections == ()
        client.do(f'kept[-1].connect(("::1", {port}))')
        found = _look(labels)
    assert _said(found["mozilla_t"]) == [("out", f"[::1]:{port}/udp")]
    assert found["squid_t"].connections == ()


def test_a_raw_socket_has_its_protocol_and_no_port(labels: Told) -> None:
    with children(labels, ping_t=()) as (child,):
        child.do("kept.append(socket.socket(type=socket.SOCK_RAW, proto=1))")
        child.do('kept[-1].connect(("127.0.0.9", 0))')
        found = _look(labels)
    assert _said(found["ping_t"]) == [("out", "127.0.0.9/icmp")]


LO = "import subprocess; subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)"


def test_each_network_namespace_has_its_own_sockets_and_listeners(labels: Told) -> None:
    """The same ports are listened on in one of them by whom the other's client shall not be."""
    with children(labels, squid_t=(), inner_t=["unshare", "-n"], outer_t=()) as (
        server,
        inner,
        outer,
    ):
        inner.do(LO)
        ours, theirs = _served(server, outer, "AF_INET", "127.0.0.1")
        inner.do(f'server = socket.socket(); server.bind(("127.0.0.1", {theirs}))')
        inner.do("server.listen()")
        inner.do(f'kept.append(socket.socket()); kept[0].bind(("127.0.0.1", {ours}))')
        inner.do(f'kept[0].connect(("127.0.0.1", {theirs})); kept.append(server.accept()[0])')
        number = (PROC / str(inner.pid) / "ns/net").stat().st_ino
        found = _look(labels)
    assert _said(found["outer_t"]) == [("out", f"127.0.0.1:{ours}/tcp")]
    assert sorted(_said(found["inner_t"])) == [
        ("in", f"127.0.0.1:{theirs}/tcp"),
        ("out", f"127.0.0.1:{theirs}/tcp"),
    ]
    assert {one.namespace for one in found["inner_t"].connections} == {number}
    assert {one.namespace for one in found["outer_t"].connections} == {0}


def test_a_socket_is_of_its_label_whoever_holds_it(labels: Told) -> None:
    with children(labels, init_t=(), mozilla_t=()) as (server, client):
        port, _ = _served(server, client, "AF_INET", "127.0.0.1")
        labels.sockets[server.value("os.stat(kept[-1].fileno()).st_ino")] = "squid_t"
        found = _look(labels)
    assert _said(found["squid_t"]) == [("in", f"127.0.0.1:{port}/tcp")]
    assert (found["squid_t"].processes, found["squid_t"].programs) == (0, ())
    assert found["init_t"].connections == ()


def test_a_socket_of_two_processes_is_one_connection(labels: Told) -> None:
    with children(labels, squid_t=(), mozilla_t=()) as (server, client):
        _served(server, client, "AF_INET", "127.0.0.1")
        twin = int(server.do("pid = os.fork()\nif not pid: os.read(0, 1)\nprint(pid)"))
        labels.domains[twin] = "squid_t"
        found = _look(labels)
        os.kill(twin, 9)
    assert found["squid_t"].processes == 2
    assert len(found["squid_t"].connections) == 1


def test_what_a_thread_keeps_for_itself_is_found(labels: Told) -> None:
    with children(labels, squid_t=(), mozilla_t=()) as (server, client):
        port = int(server.do(LISTEN.format(family="AF_INET", address="127.0.0.1")))
        client.do(f"in_thread('''{CONNECT.format(address='127.0.0.1', port=port)}''')")
        assert {path.name for path in (PROC / str(client.pid) / "fd").iterdir()} <= set("012")
        found = _look(labels)
    assert _said(found["mozilla_t"]) == [("out", f"127.0.0.1:{port}/tcp")]


@pytest.mark.parametrize("name", ["plain", "two\nlines", "bell\a\x1b[31m", "\udcff\udcfe", "a\\nb"])
def test_programs_are_the_files_that_run_made_printable(
    labels: Told, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    shutil.copy("/bin/sleep", path)
    running = subprocess.Popen([str(path), "60"])
    labels.domains[running.pid] = "sleep_t"
    try:
        while (PROC / str(running.pid) / "exe").readlink() != path:
            pass
        (program,) = _look(labels)["sleep_t"].programs
    finally:
        running.kill()
        running.wait()
    assert program.isprintable()
    assert program.encode().decode("unicode_escape").encode("latin-1") == os.fsencode(path)


def test_a_program_that_was_replaced_is_told_as_the_kernel_has_it(
    labels: Told, tmp_path: Path
) -> None:
    path = tmp_path / "program"
    shutil.copy("/bin/sleep", path)
    running = subprocess.Popen([str(path), "60"])
    labels.domains[running.pid] = "sleep_t"
    try:
        while (PROC / str(running.pid) / "exe").readlink() != path:
            pass
        path.unlink()
        assert _look(labels)["sleep_t"].programs == (f"{path} (deleted)",)
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize("comm", ["x) Z 1 (", ")", "a) S 1 1 1 0", "R 2097152"])
def test_what_a_process_calls_itself_decides_nothing(labels: Told, comm: str) -> None:
    with children(labels, evil_t=()) as (child,):
        child.do(f"open('/proc/self/comm', 'w').write({comm!r})")
        found = _look(labels)
        program = str((PROC / str(child.pid) / "exe").readlink())
    assert (found["evil_t"].processes, found["evil_t"].programs) == (1, (program,))


def test_processes_that_come_and_go_harm_nothing(labels: Told) -> None:
    script = "while :; do /bin/true & /bin/true & wait; done"
    restless = subprocess.Popen(["/bin/sh", "-c", script], process_group=0)
    labels.domains[restless.pid] = "restless_t"
    try:
        for _ in range(30):
            assert _look(labels)["restless_t"].complete
    finally:
        os.killpg(restless.pid, 9)
        restless.wait()


# Made-up ones


def test_kernel_threads_and_the_dead_are_left_out(made: MadeUp) -> None:
    made.process(2, "kernel_t", flags=0x00200040)
    made.process(3, "dead_t", state="Z")
    made.process(4, "gone_t", state="X")
    made.process(5, "kernel_t", program="/usr/bin/modprobe")
    folder = made.process(6, "headless_t", state="Z", threads=2, program=None)
    (folder / "task/7").mkdir()
    (folder / "task/7/exe").symlink_to("/usr/bin/headless")
    found = _look(Labels(), made.root)
    assert {domain: row.programs for domain, row in found.items()} == {
        "headless_t": ("/usr/bin/headless",),
        "kernel_t": ("/usr/bin/modprobe",),
    }


def test_rows_and_programs_are_in_order_and_distinct(made: MadeUp) -> None:
    for pid, (domain, program) in enumerate(
        [("b_t", "/z"), ("a_t", "/b"), ("a_t", "/a"), ("a_t", "/b"), ("a_t", None)], 10
    ):
        made.process(pid, domain, program=program)
    rows = Look(made.root, Labels()).running()
    assert [(row.domain, row.programs, row.processes) for row in rows] == [
        ("a_t", ("/a", "/b"), 4),
        ("b_t", ("/z",), 1),
    ]


LOCAL, PEER = "0100007F:0C38", "0500090A:01BB"


@pytest.mark.parametrize(
    "text",
    [
        "nonsense\n",
        line(LOCAL, PEER, 1, 7).replace("0C38", "0C3"),
        line(LOCAL, PEER, 1, 7).replace("0100007F", "100007F"),
        line(LOCAL, PEER, 1, 7).lower(),
        line(LOCAL, PEER, 1, 7).replace(" 7 ", " -7 "),
        line(LOCAL, PEER, 1, 7).replace(" 7 ", " 7x "),
        line(LOCAL, PEER, 1, 0),
        line(LOCAL, PEER, 2, 7),
        line(LOCAL, PEER, 6, 7),
        line(LOCAL, "00000000:0000", 1, 7),
    ],
)
def test_a_line_that_is_not_of_a_connection_is_none(made: MadeUp, text: str) -> None:
    made.table("tcp", text)
    made.process(10, sockets=[7, 0])
    assert _look(Labels(), made.root)["made_t"].connections == ()
    made.table("tcp", text, line("0100007F:0C39", PEER, 1, 8))
    (made.root / "10/fd/5").symlink_to("socket:[8]")
    assert _said(_look(Labels(), made.root)["made_t"]) == [("out", "10.9.0.5:443/tcp")]


@pytest.mark.parametrize(
    "context",
    ["", "x", "u:r", "u:r:", "u:r:a b", "u:r:a_t\nb_t", "u:r:\u00e9_t", "u:r:" + "a" * 999],
)
def test_a_process_of_no_context_has_no_row_and_is_missed(made: MadeUp, context: str) -> None:
    made.process(10)
    (made.process(11) / "attr/current").write_text(context + "\0", "utf-8")
    found = _look(Labels(), made.root)
    assert set(found) == {"made_t"}
    assert found["made_t"].processes == 1
    assert not found["made_t"].complete


@pytest.mark.parametrize("stat", ["", "11 (made) S", "11 made S 1 1", "11 (a) S 1 1 1 0 -1 x 0"])
def test_a_state_of_another_form_is_none(made: MadeUp, stat: str) -> None:
    made.process(10)
    (made.process(11) / "stat").write_text(stat)
    assert _look(Labels(), made.root)["made_t"].processes == 1


BOUNDS: dict[str, tuple[str, int, list[dict[str, Any]]]] = {
    "processes": ("PROCESSES_AT_MOST", 2, [{}, {}, {}]),
    "namespaces": ("NAMESPACES_AT_MOST", 2, [{"namespace": 1}, {"namespace": 2}, {"namespace": 3}]),
    "sockets": ("SOCKETS_AT_MOST", 2, [{"sockets": [1, 2, 3]}]),
    "links of all": ("LINKS_AT_MOST", 2, [{"sockets": [1, 2, 3]}]),
    "links of one": ("LINKS_OF_ONE", 2, [{"sockets": [1, 2, 3]}]),
}


@pytest.mark.parametrize(("bound", "number", "those"), BOUNDS.values(), ids=BOUNDS)
def test_all_is_bounded_and_what_was_left_out_is_told(
    made: MadeUp, monkeypatch: pytest.MonkeyPatch, bound: str, number: int, those: list[Any]
) -> None:
    made.table("tcp", *(line(LOCAL, PEER, 1, inode) for inode in (1, 2, 3)))
    for pid, more in enumerate(those, 10):
        made.process(pid, **more)
    whole = _look(Labels(), made.root)["made_t"]
    monkeypatch.setattr(processes, bound, number + 1)
    assert _look(Labels(), made.root)["made_t"] == whole
    assert whole.complete
    monkeypatch.setattr(processes, bound, number)
    less = _look(Labels(), made.root)["made_t"]
    assert not less.complete
    assert (less.processes, len(less.connections)) <= (whole.processes, len(whole.connections))


def test_our_own_namespace_is_read_before_others_fill_the_tables(
    made: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = {"tcp": "".join(line(LOCAL, PEER, 1, 100 + n) for n in range(9))}
    made.process(1, "crowd_t", namespace=2, tables=crowd, sockets=[100])
    made.table("tcp", line(LOCAL, PEER, 1, 7))
    made.process(2, "ours_t", sockets=[7])
    monkeypatch.setattr(processes, "SOCKETS_AT_MOST", 3)
    found = _look(Labels(), made.root)
    assert _said(found["ours_t"]) == [("out", "10.9.0.5:443/tcp")]


# Readings


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, list[int]]]:
    """Have each reading wait for an event, and count them."""
    event, begun = threading.Event(), list[int]()

    def running(_self: Look) -> tuple[Running, ...]:
        begun.append(threading.get_ident())
        event.wait(20)
        return (Running("a_t", (), len(begun), ()),)

    monkeypatch.setattr(Look, "running", running)
    yield event, begun
    event.set()


def test_who_asks_while_all_is_read_shares_the_next_reading(
    held: tuple[threading.Event, list[int]],
) -> None:
    event, begun = held

    async def ask() -> None:
        asked = ProcProcesses()
        first = asyncio.create_task(asked.running())
        await asyncio.sleep(0.05)  # the loop goes on while a thread reads
        later = [asyncio.create_task(asked.running()) for _ in range(100)]
        await asyncio.sleep(0.05)
        assert len(begun) == 1
        later[0].cancel()
        event.set()
        assert (await first)[0].processes == 1
        assert {rows[0].processes for rows in await asyncio.gather(*later[1:])} == {2}
        assert (await asked.running())[0].processes == 3

    asyncio.run(ask())
    assert len(begun) == 3
    assert threading.get_ident() not in begun


def test_a_reading_that_fails_is_told_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        asked = ProcProcesses(Path("/nowhere"))
        with pytest.raises(FileNotFoundError):
            await asked.running()
        monkeypatch.setattr(asked, "_root", PROC)
        await asked.running()

    asyncio.run(ask())
