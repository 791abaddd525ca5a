"""Operations that act as sockets of any domain, without starting a program of that domain."""

import errno
import itertools
import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable

from .namespaces import enter_network, labelled_socket, socket_label
from .server import Operation
from .servers import TcpServer, UdpServer
from .wire import Fields, Json, pack

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
# Echo request and reply: protocol, type of the request, type of the reply.
ECHO = {4: (socket.IPPROTO_ICMP, 8, 0), 6: (socket.IPPROTO_ICMPV6, 128, 129)}
# How often arrivals are counted while a burst is waited for.
SETTLE_SECONDS = 0.05


def error_name(error: OSError) -> str:
    """Return the errno's name, or TIMEOUT when the wait ended and the kernel said nothing."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return "TIMEOUT"
    return errno.errorcode.get(error.errno or 0, str(error))


def attempt(action: Callable[[], None]) -> Json:
    """Run a socket action; tell `ok` or its error's name, and how long it took."""
    start = time.monotonic()
    try:
        action()
        outcome = "ok"
    except OSError as error:
        outcome = error_name(error)
    return {"outcome": outcome, "seconds": time.monotonic() - start}


class ProbeDesk:
    """Keeps the sockets and servers that requests opened, by number."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._servers: dict[int, TcpServer | UdpServer] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def operations(self) -> dict[str, Operation]:
        """Return this desk's operations by name."""
        return {
            "open": self.open,
            "send": self.send,
            "receive": self.receive,
            "close": self.close,
            "burst": self.burst,
            "serve": self.serve,
            "server_state": self.server_state,
            "server_send": self.server_send,
            "server_close": self.server_close,
            "ping": ping,
        }

    def open(self, request: Fields) -> Json:
        """Open a socket of a domain, bind it and connect it as asked; keep it if all went well."""
        probe = _make(request)
        probe.settimeout(request.number("timeout"))

        def connect() -> None:
            if bound := request.address("bind"):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(bound)
            if target := request.address("target"):
                probe.connect(target)

        reply = attempt(connect)
        if reply["outcome"] != "ok":
            probe.close()
            return reply
        number = next(self._numbers)
        self._sockets[number] = probe
        return reply | {"socket": number, "local": list(probe.getsockname()[:2])}

    def send(self, request: Fields) -> Json:
        """Send on a kept socket: to its peer, or to `target`."""
        probe = self._sockets[request.integer("socket")]
        probe.settimeout(request.number("timeout"))
        target = request.address("target")
        data = request.data("data")
        return attempt(lambda: _send(probe, data, target))

    def receive(self, request: Fields) -> Json:
        """Receive on a kept socket what comes first, up to `limit` bytes."""
        probe = self._sockets[request.integer("socket")]
        probe.settimeout(request.number("timeout"))
        got: list[bytes] = []
        reply = attempt(lambda: got.append(probe.recv(request.integer("limit"))))
        return reply | {"data": pack(b"".join(got))}

    def close(self, request: Fields) -> Json:
        """Close a kept socket."""
        self._sockets.pop(request.integer("socket")).close()
        return {}

    def burst(self, request: Fields) -> Json:
        """Send many datagrams on one socket, or each on a new one; count what left and what came.

        With `server`, arrivals at that UDP server are counted until they stop or all are there.
        """
        server = self._servers.get(request.integer("server", 0))
        before = server.state.messages if server else 0
        start = time.monotonic()
        outcomes = self._send_burst(request)
        seconds = time.monotonic() - start
        arrived = _settled(server, before, outcomes["ok"]) if server else 0
        return {"outcomes": dict(outcomes), "arrived": arrived, "seconds": seconds}

    def _send_burst(self, request: Fields) -> Counter[str]:
        target, data = request.address("target"), request.data("data")
        outcomes: Counter[str] = Counter()
        kept = self._sockets.get(request.integer("socket", 0))
        fresh = request.flag("fresh")
        if kept is None and not fresh:
            kept = _make(request)
        enter_network(request.text("netns", ""))
        with socket_label(request.text("context", "")):
            for _ in range(request.integer("count")):
                probe = kept or socket.socket(FAMILIES[request.integer("family")], KINDS["udp"])
                try:
                    _send(probe, data, target)
                    outcomes["ok"] += 1
                except OSError as error:
                    outcomes[error_name(error)] += 1
                if probe is not kept:
                    probe.close()
        if kept is not None and not request.has("socket"):
            kept.close()
        return outcomes

    def serve(self, request: Fields) -> Json:
        """Start a server in the background; return its number and the port that it got."""
        listener = _make(request)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if request.integer("family") == 6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(request.address("bind") or ("", 0))
        server: TcpServer | UdpServer
        if request.text("kind") == "tcp":
            server = TcpServer(listener, request.flag("echo"), request.data("greeting"))
        else:
            server = UdpServer(listener, request.flag("echo"))
        with self._lock:
            number = next(self._numbers)
            self._servers[number] = server
        return {"server": number, "port": listener.getsockname()[1]}

    def server_state(self, request: Fields) -> Json:
        """Return what a server has seen so far."""
        return self._servers[request.integer("server")].state.report()

    def server_send(self, request: Fields) -> Json:
        """Let a server speak first: a UDP one to `target`, a TCP one on its newest connection."""
        server = self._servers[request.integer("server")]
        data, target = request.data("data"), request.address("target")
        return attempt(lambda: server.send(data, target))

    def server_close(self, request: Fields) -> Json:
        """Stop a server and close its connections."""
        self._servers.pop(request.integer("server")).close()
        return {}


def ping(request: Fields) -> Json:
    """Send one ICMP echo request from a raw socket of a domain, and wait for its answer."""
    family = request.integer("family")
    protocol, asked, answered = ECHO[family]
    probe = labelled_socket(
        request.text("context", ""),
        FAMILIES[family],
        socket.SOCK_RAW,
        protocol,
        request.text("netns", ""),
    )
    identity = int.from_bytes(os.urandom(2), "big")
    target = request.address("target")
    deadline = time.monotonic() + request.number("timeout")

    def exchange() -> None:
        _send(probe, _echo_request(asked, identity), target)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            probe.settimeout(left)
            packet = probe.recv(2048)
            # IPv4 raw sockets deliver the IP header, whose length is in its first byte.
            body = packet[4 * (packet[0] & 15) :] if family == 4 else packet
            if body[0] == answered and body[4:6] == identity.to_bytes(2, "big"):
                return

    with probe:
        return attempt(exchange)


def _echo_request(kind: int, identity: int) -> bytes:
    # The kernel fills in ICMPv6's checksum itself; in ICMP's the other words are summed here.
    total = (kind << 8) + identity + 1
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", kind, 0, checksum, identity, 1)


def _make(request: Fields) -> socket.socket:
    return labelled_socket(
        request.text("context", ""),
        FAMILIES[request.integer("family")],
        KINDS[request.text("kind")],
        0,
        request.text("netns", ""),
    )


def _send(probe: socket.socket, data: bytes, target: tuple[str, int] | None) -> None:
    if target:
        probe.sendto(data, target)
    else:
        probe.sendall(data)


def _settled(server: TcpServer | UdpServer, before: int, expected: int) -> int:
    """Count a server's arrivals until all are there, or none came for a while."""
    seen, quiet = -1, 0
    while quiet < 6:
        now = server.state.messages - before
        if now >= expected:
            return now
        quiet = quiet + 1 if now == seen else 0
        seen = now
        time.sleep(SETTLE_SECONDS)
    return seen
