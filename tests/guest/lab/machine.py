"""QEMU's command line and process."""

import queue
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

from .errors import GuestDiedError, LabError
from .host import command, tool
from .qmp import Monitor

AGENT_PORT = "appfwd.agent"
CONSOLE_END = 4000
KERNEL_OPTIONS = (
    "console=ttyS0 panic=-1 security=selinux selinux=1 enforcing=1 root=/dev/vda rw quiet "
    "log_buf_len=16M mitigations=off tsc=reliable systemd.show_status=error"
)


class Accelerator(Enum):
    """What runs the guest's processor."""

    TCG = "tcg"
    KVM = "kvm"


@dataclass(frozen=True)
class Machine:
    """The guest's hardware; a snapshot fits no other."""

    accelerator: Accelerator
    processors: int = 1
    memory_mib: int = 1024

    def identity(self) -> str:
        """Return text that differs when a snapshot of one would not fit the other."""
        return " ".join([qemu_version(), *self.processor_arguments(), str(self.memory_mib)])

    def processor_arguments(self) -> list[str]:
        """Return the arguments for processor and accelerator."""
        if self.accelerator is Accelerator.KVM:
            kind = ["-accel", "kvm", "-cpu", "host"]
        else:
            threads = "multi" if self.processors > 1 else "single"
            # QEMU 7.2 emulates cmpxchg16b wrongly: without cx16=off about 1 guest in 30 dies.
            kind = ["-accel", f"tcg,thread={threads},tb-size=512", "-cpu", "max,la57=off,cx16=off"]
        return [*kind, "-smp", str(self.processors)]


@dataclass(frozen=True)
class Start:
    """All that a QEMU process is started from."""

    machine: Machine
    image: Path
    disk: Path
    memory: Path | None = None
    """The file that holds the guest's memory; None for memory of QEMU's own."""
    memory_shared: bool = False
    """True to write the memory file, false to copy its pages when they are written."""
    state: Path | None = None
    """The devices' state to go on from; None to boot."""

    def arguments(self, directory: Path, console: Path) -> list[str]:
        """Return QEMU's command line, with its sockets in a directory."""
        size = f"{self.machine.memory_mib}M"
        return [
            *("-m", size, "-nodefaults", "-display", "none", "-nic", "none", "-no-reboot"),
            *self.machine.processor_arguments(),
            *self._memory_arguments(size),
            *("-kernel", str(self.image / "vmlinux"), "-initrd", str(self.image / "initrd")),
            *("-append", KERNEL_OPTIONS),
            *("-drive", f"file={self.disk},format=qcow2,if=none,id=disk,cache=unsafe"),
            *("-device", "virtio-blk-pci,drive=disk"),
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,path={directory}/agent,server=on,wait=off"),
            *("-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"),
            *("-qmp", f"unix:{directory}/qmp,server=on,wait=off"),
            *("-serial", f"file:{console}"),
            *(("-incoming", "defer") if self.state else ()),
        ]

    def _memory_arguments(self, size: str) -> list[str]:
        if self.memory is None:
            return ["-machine", "pc"]
        share = "on" if self.memory_shared else "off"
        backend = f"memory-backend-file,id=memory,size={size},mem-path={self.memory},share={share}"
        return ["-object", backend, "-machine", "pc,memory-backend=memory"]


class Qemu:
    """A QEMU process; it dies with this one."""

    def __init__(self, start: Start, directory: Path) -> None:
        for name in ("agent", "qmp"):
            (directory / name).unlink(missing_ok=True)
        self._console = directory / "console.log"
        self._log = directory / "qemu.log"
        argv = [
            tool("setpriv"),
            "--pdeathsig=KILL",
            tool("qemu-system-x86_64"),
            *start.arguments(directory, self._console),
        ]
        self._process = _spawner.start(argv, self._log)
        self._monitor: Monitor | None = None
        try:
            self._monitor = Monitor(directory / "qmp", self.alive)
            if start.state:
                self._monitor.load(start.state)
        except LabError as error:
            self.kill()
            raise GuestDiedError(f"{error}\n{self.console()}") from error
        except BaseException:
            self.kill()
            raise

    @property
    def monitor(self) -> Monitor:
        """Its monitor."""
        assert self._monitor is not None
        return self._monitor

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def alive(self) -> bool:
        """True while the process runs."""
        return self._process.poll() is None

    def wait(self, seconds: float) -> bool:
        """Wait for the process to end; False if it still runs."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self.monitor.close()
        return True

    def kill(self) -> None:
        """End the process at once; what its disk image holds is void then."""
        self._process.kill()
        self._process.wait()
        if self._monitor:
            self._monitor.close()

    def console(self) -> str:
        """Return the end of what QEMU and the guest's console said."""
        texts = [
            file.read_text(errors="replace") for file in (self._log, self._console) if file.exists()
        ]
        return "".join(texts)[-CONSOLE_END:]


class _Spawner:
    """Starts processes from one thread that lives as long as the program.

    The kernel sends a process's parent-death signal when the *thread* that started it ends.
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, argv: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own, its output going to a log file."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True, name="qemu-spawner")
            self._thread.start()
        results: queue.SimpleQueue[subprocess.Popen[bytes] | Exception] = queue.SimpleQueue()

        def order() -> None:
            try:
                with log.open("wb") as output:
                    results.put(
                        subprocess.Popen(
                            argv,
                            stdin=subprocess.DEVNULL,
                            stdout=output,
                            stderr=subprocess.STDOUT,
                            start_new_session=True,
                        )
                    )
            except OSError as error:
                results.put(error)

        self._orders.put(order)
        result = results.get()
        if isinstance(result, Exception):
            raise result
        return result

    def _work(self) -> None:
        while True:
            self._orders.get()()


_spawner = _Spawner()


@cache
def qemu_version() -> str:
    """Return QEMU's version line."""
    return command([tool("qemu-system-x86_64"), "--version"]).decode().splitlines()[0]


def make_overlay(disk: Path, base: Path, base_format: str) -> None:
    """Make a disk that holds only what differs from another."""
    image_tool = tool("qemu-img")
    command([image_tool, "create", "-q", "-f", "qcow2", "-b", base, "-F", base_format, disk])
