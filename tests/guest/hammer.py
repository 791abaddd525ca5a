"""A flow that sends without a rest while its grant comes and goes."""

import json

from .lab.guest import Guest
from .lab.probe import Address, context_of

#: Sends and receives on one socket without a rest; each answer is written to a file, so that
#: whoever wants to know how many there were reads how long it is.
HAMMER = """
import os, socket, sys, time
with open("/run/hammer.pid", "w") as out:
    out.write(str(os.getpid()))
with open("/proc/thread-self/attr/sockcreate", "w") as out:
    out.write(sys.argv[3])
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.connect((sys.argv[1], int(sys.argv[2])))
one.settimeout(0.02)
refused = 0
with open("/run/hammer", "wb", buffering=0) as out:
    while True:
        try:
            one.send(b"x")
            one.recv(10)
            out.write(b"x")
            refused = 0
        except OSError:
            refused += 1
            # Each is a record, which takes most of one processor; after a revoke we try for 2 s.
            time.sleep(0.005 if refused < 400 else 0.05)
"""
TOGGLE = """
import asyncio, json, os, sys, time
sys.path.insert(0, "/usr/lib/python3/dist-packages")
from appfwd.bus.client import Client

def count():
    return os.stat("/run/hammer").st_size

async def main(place, rounds):
    client, found = await Client.connect(), []
    for number in range(rounds):
        await client.call("Grant", "mozilla_t", place, {})
        before = count()
        await asyncio.sleep((0.1, 0.5, 1.5)[number % 3])
        granted = count() - before
        await client.call("Revoke", "mozilla_t", place, {})
        time.sleep(0.05)  # what was answered before the reply is counted by then
        before = count()
        await asyncio.sleep((0.2, 1.5)[number % 2])
        found.append({"while_granted": granted, "after_revoke": count() - before})
    print(json.dumps(found))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def passes_nothing_after_a_revoke(
    guest: Guest, address: Address, *, rounds: int, processor: int | None = None
) -> None:
    """Hold that nothing of mozilla_t's flow passes from each revoke's reply on.

    The place is guarded and its server answers by UDP. ``processor`` is where the flow sends
    from; all else is left to the scheduler, or to the caller.
    """
    host, port = address
    guest.write("/root/hammer.py", HAMMER.encode())
    guest.write("/root/toggle.py", TOGGLE.encode())
    pinned = "" if processor is None else f"taskset -c {processor} "
    begin = f"{pinned}python3 /root/hammer.py {host} {port} {context_of('mozilla_t')}"
    guest.run(f"touch /run/hammer; setsid -f {begin} > /dev/null 2>&1 < /dev/null", check=True)
    words = ["python3", "/root/toggle.py", f"{host}:{port}", str(rounds)]
    try:
        said = json.loads(guest.run(words, check=True, timeout=300.0).out)
    finally:  # or it hammers on under the tests that follow
        guest.run("kill $(cat /run/hammer.pid)", check=True)
    assert sum(one["while_granted"] for one in said) > 100
    assert [one["after_revoke"] for one in said] == [0] * rounds
