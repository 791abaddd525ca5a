"""Traffic in a guest, measured from within, with nothing but Python and iperf3.

Both ends of a connection are sockets of this one process, so that nothing waits for a scheduler:
what is left is the kernel's work for each packet, and the interpreter's, which is the same always.
"""

import ctypes
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

PORT, IPERF_PORT = 8080, 5201
CONNECTIONS, ROUND_TRIPS, IPERF_SECONDS = 300, 1500, 1.5
WARM_UP = 30
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def made_in(netns: str, kind: socket.SocketKind) -> socket.socket:
    """Return a socket of a network namespace; "" is the present one."""
    with in_netns(netns) if netns else nullcontext():
        return socket.socket(socket.AF_INET, kind)


@contextmanager
def in_netns(netns: str) -> Iterator[None]:
    """Have this process in a network namespace meanwhile."""
    with Path("/proc/self/ns/net").open() as ours, Path("/run/netns", netns).open() as theirs:
        _enter(theirs.fileno())
        try:
            yield
        finally:
            _enter(ours.fileno())


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def connections_a_second(address: str, netns: str, count: int = CONNECTIONS) -> float:
    """Open and close connections, one after the other."""
    with closing(made_in(netns, socket.SOCK_STREAM)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, PORT))
        listener.listen()
        for number in range(WARM_UP + count):
            if number == WARM_UP:
                start = time.perf_counter()
            with socket.create_connection((address, PORT)):
                listener.accept()[0].close()
        return count / (time.perf_counter() - start)


def round_trip_us(address: str, netns: str, count: int = ROUND_TRIPS) -> float:
    """Return the median time of a datagram there and one back, on one flow."""
    took: list[float] = []
    far, near = made_in(netns, socket.SOCK_DGRAM), made_in("", socket.SOCK_DGRAM)
    with far, near:
        far.bind((address, PORT))
        near.connect((address, PORT))
        for _ in range(WARM_UP + count):
            start = time.perf_counter()
            near.send(b"x")
            far.sendto(b"x", far.recvfrom(1)[1])
            near.recv(1)
            took.append(time.perf_counter() - start)
    return 1e6 * statistics.median(took[WARM_UP:])


def mebibyte_us(address: str, netns: str, count: int) -> float:
    """Return what a mebibyte takes through one connection, in parts that a socket buffer holds."""
    part, parts = bytes(1 << 17), count << 3
    with closing(made_in(netns, socket.SOCK_STREAM)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, PORT))
        listener.listen()
        with socket.create_connection((address, PORT)) as near, listener.accept()[0] as far:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(part))
            got = bytearray(len(part))
            for number in range(1 + parts):
                if number == 1:
                    start = time.perf_counter()
                near.sendall(part)
                left = len(part)
                while left:
                    left -= far.recv_into(got, left)
            return 1e6 * (time.perf_counter() - start) / count


def gbit_a_second(address: str) -> float:
    """Return what iperf3 receives; its server is there already."""
    words = ["iperf3", "-J", "-c", address, "-p", str(IPERF_PORT), "-t", str(IPERF_SECONDS)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) / 1e9


def main(*names: str) -> None:
    """Print the figures of each address that is named, as `ADDRESS` or `ADDRESS@NETNS`."""
    figures = {}
    for name in names:
        address, _, netns = name.partition("@")
        figures[name] = {
            "gbit_s": gbit_a_second(address),
            "conn_s": connections_a_second(address, netns),
            "us": round_trip_us(address, netns),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
