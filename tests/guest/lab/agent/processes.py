"""Operations on processes: run one to its end, or keep one in the background."""

import itertools
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from .namespaces import enter_network
from .server import Operation
from .wire import Fields, Json

OUTPUT_DIRECTORY = Path("/run/appfwd-lab")
# How long output is waited for once its process has ended.
DRAIN_SECONDS = 1.0


class ProcessDesk:
    """Runs commands, and keeps the background ones by handle."""

    def __init__(self) -> None:
        self._kept: dict[int, subprocess.Popen[bytes]] = {}
        self._handles = itertools.count(1)

    def operations(self) -> dict[str, Operation]:
        """Return this desk's operations by name."""
        return {"run": run, "spawn": self.spawn, "inspect": self.inspect, "kill": self.kill}

    def spawn(self, request: Fields) -> Json:
        """Start a command in the background; its output goes to a file."""
        handle = next(self._handles)
        OUTPUT_DIRECTORY.mkdir(exist_ok=True)
        with _output(handle).open("wb") as output:
            self._kept[handle] = _start(request, stdin=subprocess.DEVNULL, out=output.fileno())
        return {"handle": handle, "pid": self._kept[handle].pid}

    def inspect(self, request: Fields) -> Json:
        """Return a background command's exit status, null while it runs, and its output so far."""
        handle = request.integer("handle")
        process = self._kept[handle]
        if request.has("wait"):
            with suppress(subprocess.TimeoutExpired):
                process.wait(request.number("wait"))
        output = _output(handle).read_bytes().decode("utf-8", "backslashreplace")
        return {"rc": process.poll(), "out": output}

    def kill(self, request: Fields) -> Json:
        """Signal a background command's process group."""
        process = self._kept[request.integer("handle")]
        if process.poll() is None:
            os.killpg(process.pid, request.integer("signal"))
        return {}


def run(request: Fields) -> Json:
    """Run a command to its end; past its time its process group is killed."""
    start = time.monotonic()
    has_input = request.has("stdin")
    process = _start(
        request,
        stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
        out=subprocess.PIPE,
        err=subprocess.PIPE,
    )
    readers = [_Reader(stream) for stream in (process.stdout, process.stderr) if stream]
    if process.stdin:
        threading.Thread(target=_feed, args=(process.stdin, request.data("stdin"))).start()
    try:
        process.wait(request.number("timeout"))
        timed_out = False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        timed_out = True
    seconds = time.monotonic() - start
    out, err = (reader.finish() for reader in readers)
    return {
        "rc": process.returncode,
        "out": out.decode("utf-8", "backslashreplace"),
        "err": err.decode("utf-8", "backslashreplace"),
        "seconds": seconds,
        "timed_out": timed_out,
    }


class _Reader:
    """Reads a pipe to its end, or until what is behind it has ended for a while.

    A daemon that a command left behind may hold the pipe open for ever.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._chunks: list[bytes] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def finish(self) -> bytes:
        """Return what came."""
        self._thread.join(DRAIN_SECONDS)
        return b"".join(self._chunks)

    def _read(self) -> None:
        with self._stream:
            while chunk := os.read(self._stream.fileno(), 1 << 16):
                self._chunks.append(chunk)


def _feed(stream: IO[bytes], data: bytes) -> None:
    with suppress(BrokenPipeError), stream:
        stream.write(data)


def _start(
    request: Fields, stdin: int, out: int, err: int = subprocess.STDOUT
) -> subprocess.Popen[bytes]:
    command = request.table("command")
    enter_network(command.text("netns", ""))
    argv = command.texts("argv") or ["/bin/bash", "-c", command.text("shell")]
    environment = os.environ | {
        name: str(value) for name, value in command.table("env").values.items()
    }
    return subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=out,
        stderr=err,
        env=environment,
        cwd=command.text("cwd", "/root"),
        start_new_session=True,
    )


def _output(handle: int) -> Path:
    return OUTPUT_DIRECTORY / f"process-{handle}.out"
