"""Operations on the guest as a whole: clock, entropy, kernel log."""

import fcntl
import os
import struct
import time
from pathlib import Path

from .server import Operation, hello
from .wire import Fields, Json

# linux/random.h; a restored guest starts with the entropy of its snapshot.
RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207
KMSG_RECORD = 8192


def sync(request: Fields) -> Json:
    """Set the clock and stir in fresh entropy; a restored guest has both stale."""
    if request.has("time"):
        time.clock_settime(time.CLOCK_REALTIME, request.number("time"))
    entropy = request.data("entropy")
    if entropy:
        with Path("/dev/urandom").open("wb", buffering=0) as pool:
            head = struct.pack("ii", 8 * len(entropy), len(entropy))
            fcntl.ioctl(pool, RNDADDENTROPY, head + entropy)
            fcntl.ioctl(pool, RNDRESEEDCRNG)
    return hello()


def kernel_log(request: Fields) -> Json:
    """Return kernel log records with a sequence number of at least `since`, and the next number."""
    since = request.integer("since", 0)
    records: list[Json] = []
    following = 0
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while (record := _next_record(log)) is not None:
            head, _, body = record.partition(";")
            sequence, microseconds = (int(field) for field in head.split(",")[1:3])
            following = sequence + 1
            if sequence >= since:
                text = body.split("\n", 1)[0]
                records.append({"sequence": sequence, "seconds": microseconds / 1e6, "text": text})
    finally:
        os.close(log)
    return {"records": records, "next": following}


def _next_record(log: int) -> str | None:
    while True:
        try:
            return os.read(log, KMSG_RECORD).decode("utf-8", "replace")
        except BlockingIOError:
            return None
        except BrokenPipeError:
            # The record was overwritten meanwhile; the next read gets the oldest one left.
            continue


SYSTEM_OPERATIONS: dict[str, Operation] = {"sync": sync, "kernel_log": kernel_log}
