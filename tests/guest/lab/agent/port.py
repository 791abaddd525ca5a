"""The virtio-serial port as a stream of lines."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

PORTS = Path("/sys/class/virtio-ports")
RETRY_SECONDS = 0.02


class Port:
    """A virtio-serial port, opened for good; the host may come and go."""

    def __init__(self, device: Path) -> None:
        self._fd = os.open(device, os.O_RDWR)
        self._writing = threading.Lock()

    @classmethod
    def find(cls, name: str) -> "Port":
        """Open the port of that name, waiting until the kernel has it."""
        while True:
            for entry in PORTS.glob("*/name"):
                if entry.read_text().strip() == name:
                    return cls(Path("/dev") / entry.parent.name)
            time.sleep(RETRY_SECONDS)

    def lines(self) -> Iterator[bytes]:
        """Yield each complete line, for ever."""
        held = b""
        while True:
            data = os.read(self._fd, 1 << 16)
            if not data:
                # The host is away; what it had half said is void.
                held = b""
                time.sleep(RETRY_SECONDS)
                continue
            *complete, held = (held + data).split(b"\n")
            yield from complete

    def write(self, line: bytes) -> None:
        """Write a line whole, whatever other threads write; waits while the host is away."""
        with self._writing:
            view = memoryview(line)
            while view:
                view = view[os.write(self._fd, view) :]
