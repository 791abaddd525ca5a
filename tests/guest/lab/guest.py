"""A running guest."""

import atexit
import io
import os
import signal
import tarfile
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from .agent.wire import Fields, as_fields, pack
from .avc import Avc, parse_avcs
from .channel import Channel
from .errors import CommandError, GuestDiedError, RequestTimeoutError
from .machine import Machine, Qemu, Start, make_overlay
from .probe import Probe
from .qmp import connect
from .rundir import RunDirectory

Command = str | Sequence[str]

BOOT_SECONDS = 400.0
#: What a command gets: a machine may be slow, and what hangs is seen all the same.
COMMAND_SECONDS = 180.0
REQUEST_SECONDS = 300.0
# What the agent gets to answer beyond a command's own time.
SLACK_SECONDS = 60.0
CHUNK = 256 * 1024
ENTROPY_BYTES = 64
POLL_SECONDS = 0.05
# Beyond any record's sequence number.
FAR = 1 << 60


@dataclass(frozen=True)
class Result:
    """How a command in the guest ended."""

    rc: int
    """Exit status; minus the signal's number if one ended it."""
    out: str
    err: str
    seconds: float
    timed_out: bool = False


class Process:
    """A command in the guest's background."""

    def __init__(self, guest: "Guest", handle: int, pid: int) -> None:
        self._guest = guest
        self._handle = handle
        self.pid = pid

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self._inspect()[0]

    def output(self) -> str:
        """Return what it wrote so far, to stdout and stderr."""
        return self._inspect()[1]

    def wait(self, timeout: float = COMMAND_SECONDS) -> int:
        """Wait for its end and return the exit status; RequestTimeoutError if it does not come."""
        rc, out = self._inspect(wait=timeout)
        if rc is None:
            raise RequestTimeoutError(f"still runs after {timeout:.0f} s: {out[-1000:]}")
        return rc

    def kill(self, signum: int = signal.SIGTERM) -> None:
        """Signal its process group."""
        self._guest.request("kill", handle=self._handle, signal=int(signum))

    def _inspect(self, wait: float | None = None) -> tuple[int | None, str]:
        seconds = REQUEST_SECONDS + (wait or 0)
        reply = self._guest.request("inspect", seconds=seconds, handle=self._handle, wait=wait)
        return (reply.integer("rc") if reply.has("rc") else None), reply.text("out")


class Guest:
    """A guest and its agent. Close it, or use it in a `with` statement.

    Times are seconds of the host's clock. Every method raises GuestDiedError if QEMU ended.
    """

    def __init__(
        self, start: Start, run: RunDirectory, *, boot_seconds: float = BOOT_SECONDS
    ) -> None:
        """Start it; returns when the agent answers. The run directory goes when the guest does."""
        self._start = start
        self._run_directory = run
        self.probe = Probe(self.request)
        try:
            self._run_qemu(boot_seconds)
        except BaseException:
            run.close()
            raise
        _open_guests.add(self)

    def _run_qemu(self, boot_seconds: float) -> None:
        self._qemu = Qemu(self._start, self._run_directory.path)
        try:
            self._channel = Channel(connect(self._run_directory.path / "agent", self._qemu.alive))
            if self._start.state is None:
                self._channel.hello.result(boot_seconds)
            self.sync()
        except (GuestDiedError, RequestTimeoutError, FutureTimeoutError) as error:
            console = self._qemu.console()
            self._qemu.kill()
            raise GuestDiedError(f"no agent: {error}\n{console}") from error
        except BaseException:
            self._qemu.kill()
            raise

    def request(
        self, operation: str, *, seconds: float = REQUEST_SECONDS, **fields: object
    ) -> Fields:
        """Ask the agent; RequestError or RequestTimeoutError if it can't or doesn't answer."""
        try:
            return self._channel.request(operation, seconds=seconds, **fields)
        except GuestDiedError as error:
            raise GuestDiedError(f"{error}\n{self.console()}") from error

    def sync(self) -> Fields:
        """Set the guest's clock and stir its entropy; return the agent's hello."""
        return self.request(
            "sync", seconds=BOOT_SECONDS, time=time.time(), entropy=pack(os.urandom(ENTROPY_BYTES))
        )

    def run(
        self,
        command: Command,
        *,
        timeout: float = COMMAND_SECONDS,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        cwd: str = "/root",
        netns: str = "",
    ) -> Result:
        """Run a command, text through bash, and wait for its end.

        Past the timeout it is killed. With `check`, CommandError unless it ended with 0 in time.
        """
        data = stdin.encode() if isinstance(stdin, str) else stdin
        reply = self.request(
            "run",
            seconds=timeout + SLACK_SECONDS,
            timeout=timeout,
            stdin=None if data is None else pack(data),
            command=_command_fields(command, env, cwd, netns),
        )
        result = Result(
            rc=reply.integer("rc", -1),
            out=reply.text("out"),
            err=reply.text("err"),
            seconds=reply.number("seconds"),
            timed_out=reply.flag("timed_out"),
        )
        if check and (result.rc or result.timed_out):
            raise CommandError(f"{command}: {result}")
        return result

    def spawn(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/root",
        netns: str = "",
    ) -> Process:
        """Start a command in the background."""
        reply = self.request("spawn", command=_command_fields(command, env, cwd, netns))
        return Process(self, reply.integer("handle"), reply.integer("pid"))

    def run_as(
        self, domain: str, argv: Sequence[str], *, timeout: float = COMMAND_SECONDS
    ) -> Result:
        """Run a program in a domain."""
        return self.run([*runcon(domain), *argv], timeout=timeout)

    def write(self, path: str, data: str | bytes, mode: int = 0o644) -> None:
        """Write a file, and the directories above it."""
        self._put(path, data.encode() if isinstance(data, str) else data, mode)

    def read(self, path: str) -> bytes:
        """Return a file's bytes; RequestError with errno ENOENT if there is none."""
        data = b""
        while chunk := self.request("get", path=path, offset=len(data), limit=CHUNK).data("data"):
            data += chunk
        return data

    def push_tree(self, source: Path, dest: str, *, exclude: Sequence[str] = ()) -> None:
        """Copy a directory's contents into one of the guest, as root's.

        `exclude` has names of files and directories to leave out wherever they are.
        """
        archive = f"/root/.push-{os.urandom(4).hex()}.tar.gz"
        self._put(archive, _packed_tree(source, {"__pycache__", ".git", *exclude}), 0o600)
        self.request("unpack", archive=archive, path=dest)

    def _put(self, path: str, data: bytes, mode: int) -> None:
        for offset in range(0, max(len(data), 1), CHUNK):
            chunk = pack(data[offset : offset + CHUNK])
            self.request("put", path=path, offset=offset, data=chunk, mode=mode)

    def mark(self) -> int:
        """Return where the kernel log ends now, for `avcs` and `kernel_log`."""
        return self._log(FAR)[1]

    def kernel_log(self, since: int = 0) -> list[str]:
        """Return the kernel log's lines since a mark of the same boot."""
        return self._log(since)[0]

    def _log(self, since: int) -> tuple[list[str], int]:
        reply = self.request("kernel_log", since=since)
        records = [as_fields(record) for record in reply.items("records")]
        return [record.text("text") for record in records], reply.integer("next")

    def avcs(self, since: int = 0) -> list[Avc]:
        """Return the AVC records since a mark of the same boot."""
        return parse_avcs(self.kernel_log(since))

    def wait_avcs(self, since: int, count: int = 1, *, timeout: float = 10.0) -> list[Avc]:
        """Return the AVC records since a mark, when there are so many, or the time is over.

        The kernel logs a record a little after the access that it is about.
        """
        deadline = time.monotonic() + timeout
        while len(found := self.avcs(since)) < count and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return found

    def reboot(self, *, power_cut: bool = False, timeout: float = BOOT_SECONDS) -> None:
        """Boot anew from the disk as it is, by `systemctl reboot` or as after a power cut.

        Its background processes, probe sockets and servers, and marks are void then.
        """
        if power_cut:
            self._qemu.monitor.quit()
        else:
            with suppress(GuestDiedError, RequestTimeoutError):
                self.run(["systemctl", "reboot"], timeout=timeout)
        if not self._qemu.wait(timeout):
            raise RequestTimeoutError(f"the guest did not go down\n{self.console()}")
        self._channel.close()
        memory = self._start.memory if self._start.memory_shared else None
        if memory is not None:
            memory.unlink()
        self._start = replace(self._start, memory=memory, state=None)
        self._run_qemu(timeout)

    def save(self, state: Path) -> None:
        """Save the devices' state and end; memory and disk are in their files then."""
        self._qemu.monitor.save(state)
        self._qemu.monitor.quit()
        self._qemu.wait(REQUEST_SECONDS)
        self.close()

    def console(self) -> str:
        """Return the end of the console's log."""
        return self._qemu.console()

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._qemu.pid

    @property
    def start(self) -> Start:
        """What it was started from."""
        return self._start

    def close(self) -> None:
        """End it at once."""
        _open_guests.discard(self)
        self._qemu.kill()
        self._channel.close()
        self._run_directory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def boot_image(built: Path, machine: Machine, *, boot_seconds: float = BOOT_SECONDS) -> Guest:
    """Return a guest booted from an image; GuestDiedError if its agent isn't there in time."""
    run = RunDirectory(built)
    disk = run.path / "disk.qcow2"
    make_overlay(disk, built / "root.img", "raw")
    return Guest(Start(machine, built, disk), run, boot_seconds=boot_seconds)


def runcon(domain: str) -> list[str]:
    """Return the words that start a program in a domain."""
    return ["runcon", "-u", "unconfined_u", "-r", "unconfined_r", "-t", domain, "--"]


def _command_fields(
    command: Command, env: Mapping[str, str] | None, cwd: str, netns: str
) -> dict[str, object]:
    form: dict[str, object] = (
        {"shell": command} if isinstance(command, str) else {"argv": list(command)}
    )
    return form | {"env": dict(env or {}), "cwd": cwd, "netns": netns}


def _packed_tree(source: Path, left_out: set[str]) -> bytes:
    def adopt(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        return None if Path(member.name).name in left_out else member

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        tar.add(source, arcname=".", filter=adopt)
    return packed.getvalue()


_open_guests: weakref.WeakSet[Guest] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for guest in list(_open_guests):
        guest.close()
