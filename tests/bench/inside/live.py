"""From a revoke's call to the last datagram of a live flow that its peer got.

Three processes: one sends as fast as it can, in the domain of the grant; one takes what comes to
the other end, in a network namespace of its own, and notes when the kernel had the last; this one
grants and revokes. All times are of one clock, CLOCK_REALTIME, which the kernel's stamps have.
Prints for each round the times of call, reply and last datagram, and how many passed before it.
"""

import asyncio
import json
import mmap
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from appfwd.bus.client import Client

from .traffic import made_in

#: Linux's number of SO_TIMESTAMPNS, option and message.
STAMP = 35
#: What the receiver tells: the last stamp (s, ns), and how many came.
TOLD = struct.Struct("qqq")
#: How often the receiver answers: an answered flow may keep its label.
ANSWERED = 64
ROUNDS = 20
#: Seconds: of sending before each revoke, longer than labels take to be kept; and after it.
FLOWING, AFTER = 2.0, 1.0
#: The sender's rest after a refusal. Each is a record of the kernel's.
REST = 0.005


def receive(far: socket.socket, told: mmap.mmap) -> None:
    """Note when each datagram came."""
    count = 0
    while True:
        _, ancillary, _, sender = far.recvmsg(64, 64)
        count += 1
        seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
        TOLD.pack_into(told, 0, seconds, nanoseconds, count)
        if count % ANSWERED == 1:
            far.sendto(b"y", sender)


def send(address: str, port: int, context: str) -> None:
    """Send without a rest, on one socket of a domain."""
    Path("/proc/thread-self/attr/sockcreate").write_text(context)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near:
        near.connect((address, port))
        while True:
            try:
                near.send(b"x")
            except OSError:
                time.sleep(REST)


def forked(work: Callable[[], None]) -> int:
    """Do work in a process of its own; return its id."""
    number = os.fork()
    if not number:
        try:
            work()
        finally:
            os._exit(1)
    return number


async def rounds(domain: str, place: str, told: mmap.mmap) -> list[list[float]]:
    """Grant, and revoke while it flows."""
    client, found = await Client.connect(), []
    for _ in range(ROUNDS):
        await client.call("Grant", domain, place, {})
        before = TOLD.unpack_from(told)[2]
        await asyncio.sleep(FLOWING)
        call = time.time()
        await client.call("Revoke", domain, place, {})
        reply = time.time()
        await asyncio.sleep(AFTER)
        seconds, nanoseconds, came = TOLD.unpack_from(told)
        found.append([call, reply, seconds + nanoseconds / 1e9, came - before])
    return found


def main(address: str, netns: str, port: int, domain: str, context: str) -> None:
    """Measure, and print it."""
    told = mmap.mmap(-1, TOLD.size)
    far = made_in(netns, socket.SOCK_DGRAM)
    far.setsockopt(socket.SOL_SOCKET, STAMP, 1)
    far.bind((address, port))
    others = [forked(lambda: receive(far, told)), forked(lambda: send(address, port, context))]
    try:
        print(json.dumps(asyncio.run(rounds(domain, f"{address}:{port}/udp", told))))
    finally:
        for number in others:
            os.kill(number, signal.SIGKILL)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
