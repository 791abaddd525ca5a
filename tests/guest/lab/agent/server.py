"""Requests in, replies out: one thread for each request, so that a slow one delays no other."""

import errno
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from .port import Port
from .wire import Fields, Json, WireError, decode, encode

Operation = Callable[[Fields], Json]


class AgentServer:
    """Serves a table of operations on one port."""

    def __init__(self, port: Port, operations: Mapping[str, Operation]) -> None:
        self._port = port
        self._operations = operations

    def serve(self) -> None:
        """Say hello, then answer for ever."""
        self._port.write(encode({"hello": hello()}))
        for line in self._port.lines():
            if line.strip():
                # It may enter a network namespace; so it ends with its request.
                threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: bytes) -> None:
        try:
            request = decode(line)
        except WireError:
            return
        reply: Json = {"id": request.values.get("id")}
        try:
            reply["ok"] = self._operations[request.text("op")](request)
        except Exception as error:  # noqa: BLE001  The host hears of it; the agent lives on.
            reply["error"] = f"{type(error).__name__}: {error}"
            if isinstance(error, OSError) and error.errno is not None:
                reply["errno"] = errno.errorcode.get(error.errno, str(error.errno))
        self._port.write(encode(reply))


def hello() -> Json:
    """Return who and where this agent is."""
    return {
        "context": Path("/proc/self/attr/current").read_text().strip("\0\n"),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "uptime": float(Path("/proc/uptime").read_text().split()[0]),
    }
