"""QEMU's monitor: a JSON line each way."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .agent.wire import Fields, Json, decode, encode
from .errors import GuestDiedError, LabError

REPLY_SECONDS = 120.0
POLL_SECONDS = 0.01


def connect(path: Path, alive: Callable[[], bool], seconds: float = REPLY_SECONDS) -> socket.socket:
    """Connect to a socket that QEMU makes as it starts; GuestDiedError if it never does."""
    deadline = time.monotonic() + seconds
    while True:
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.connect(str(path))
        except OSError as error:
            stream.close()
            if not alive() or time.monotonic() > deadline:
                raise GuestDiedError(f"no {path.name}: {error}") from error
            time.sleep(POLL_SECONDS)
        else:
            return stream


class Monitor:
    """One connection to a QEMU monitor."""

    def __init__(self, path: Path, alive: Callable[[], bool]) -> None:
        self._stream = connect(path, alive)
        self._stream.settimeout(REPLY_SECONDS)
        self._lines = self._stream.makefile("rb")
        try:
            self._read()
            self.execute("qmp_capabilities")
        except LabError:
            self.close()
            raise

    def execute(self, name: str, **arguments: object) -> Fields:
        """Run a command; LabError if QEMU refuses it, GuestDiedError if QEMU is gone."""
        message: Json = {"execute": name, "arguments": arguments}
        try:
            self._stream.sendall(encode(message))
            while True:
                reply = self._read()
                if reply.has("error"):
                    raise LabError(f"QEMU refused {name}: {reply.table('error').text('desc', '')}")
                if "return" in reply.values:
                    value = reply.values["return"]
                    return Fields(value if isinstance(value, dict) else {})
        except OSError as error:
            raise GuestDiedError(f"QEMU is gone: {name}") from error

    def close(self) -> None:
        """Close the connection; QEMU goes on."""
        self._lines.close()
        self._stream.close()

    def load(self, state: Path) -> None:
        """Load the devices' state into a QEMU that waits for it, and let it run."""
        self._leave_shared_memory()
        self.execute("migrate-incoming", uri=f"exec:cat '{state}'")
        self._wait("query-status", {"inmigrate"})
        self.execute("cont")

    def save(self, state: Path) -> None:
        """Stop the guest and save its devices' state; its memory is in its file already."""
        self._leave_shared_memory()
        self.execute("stop")
        self.execute("migrate", uri=f"exec:cat > '{state}'")
        result = self._wait("query-migrate", {"setup", "active", "device", "none"})
        if result != "completed":
            raise LabError(f"QEMU could not save its state: {result}")

    def quit(self) -> None:
        """Let QEMU end, with its disk image complete."""
        # It may be gone before it answers.
        with suppress(GuestDiedError):
            self.execute("quit")

    def _leave_shared_memory(self) -> None:
        capability = {"capability": "x-ignore-shared", "state": True}
        self.execute("migrate-set-capabilities", capabilities=[capability])

    def _wait(self, question: str, passing: set[str]) -> str:
        deadline = time.monotonic() + REPLY_SECONDS
        while True:
            status = self.execute(question).text("status", "none")
            if status not in passing or time.monotonic() > deadline:
                return status
            time.sleep(POLL_SECONDS)

    def _read(self) -> Fields:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise GuestDiedError("QEMU is gone") from error
        if not line:
            raise GuestDiedError("QEMU closed its monitor")
        return decode(line)
