"""The kernel's own word on SELinux, through selinuxfs (security/selinux/selinuxfs.c)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appfwd.errors import PolicyLoadFailed, SelinuxDisabled
from appfwd.model.policy import KernelContexts
from appfwd.model.services import Interval

_ROOT = Path("/sys/fs/selinux")
_OFF = (
    "SELinux is off on this machine, or no policy is loaded: appfwd needs it. On Debian: install "
    "selinux-basics and selinux-policy-default, run selinux-activate, and reboot."
)


@dataclass(frozen=True)
class _Packets:
    """What the loaded policy calls packets: the class's number, and its permissions' bits."""

    contexts: KernelContexts
    index: str
    permissions: tuple[tuple[str, int], ...]


class SelinuxFs:
    """Answers from selinuxfs; every call reads the kernel anew.

    How packets are asked about is fixed by a policy load, and read once for each.
    """

    def __init__(self, root: Path = _ROOT) -> None:
        self._root = root
        self._packets: tuple[int, _Packets] | None = None

    def contexts(self) -> KernelContexts:
        """Return the contexts of the kernel's initial SIDs and of this process.

        Raises:
            SelinuxDisabled: there is no selinuxfs.

        """
        unlabeled = _split(self._read("initial_contexts/unlabeled"))
        kernel = _split(self._read("initial_contexts/kernel"))
        own = _split(Path("/proc/self/attr/current").read_text("ascii"))
        user, role, name, level = unlabeled
        return KernelContexts(user, role, level, unlabeled=name, kernel=kernel[2], loader=own[2])

    def enforcing(self) -> bool:
        """Tell whether refusals are enforced.

        Raises:
            SelinuxDisabled: there is no selinuxfs.

        """
        return self._read("enforce").strip() == "1"

    def policy_load(self) -> int:
        """Return the count of policy loads and boolean commits since boot.

        It is ``policyload`` of struct selinux_kernel_status (security/selinux/ss/status.c).

        Raises:
            SelinuxDisabled: there is no selinuxfs.

        """
        try:
            data = (self._root / "status").read_bytes()
        except OSError:
            raise SelinuxDisabled(_OFF) from None
        _version, _sequence, _enforcing, load, _deny = struct.unpack_from("=5I", data)
        return int(load)

    def set_booleans(self, values: Mapping[str, bool]) -> None:
        """Give booleans new values, in force together (selinuxfs, booleans/commit_pending_bools).

        They last until the machine ends or the policy loses them.

        Raises:
            PolicyLoadFailed: the kernel has not all of them, or does not let us; none is set.

        """
        pending: list[Path] = []
        try:
            for name, value in sorted(values.items()):
                path = self._root / "booleans" / name
                _write(path, "1" if value else "0")
                pending.append(path)
            _write(self._root / "commit_pending_bools", "1")
        except OSError as error:
            self._unset(pending)
            msg = (
                f"The kernel did not take the booleans of appfwd's slots ({error}); "
                "is the policy module 'appfwd' loaded as appfwd made it?"
            )
            raise PolicyLoadFailed(msg) from error

    def _unset(self, pending: Iterable[Path]) -> None:
        """Give booleans that were not committed their value of now, or a later commit takes them.

        A boolean reads as its value and the one that is pending.
        """
        for path in pending:
            with suppress(OSError):
                _write(path, path.read_text("ascii").split()[0])

    def always_checks(self) -> bool:
        """Tell whether packets are checked without any label (capability always_check_network).

        Raises:
            SelinuxDisabled: there is no selinuxfs.

        """
        return self._read("policy_capabilities/always_check_network").strip() == "1"

    def access(self, domain: str, packet_type: str) -> frozenset[str]:
        """Return the permissions of class ``packet`` that ``domain`` has on ``packet_type``.

        The object role makes every type valid in a context, so domains can be asked for without
        knowing their users and roles; type rules decide.

        Raises:
            SelinuxDisabled: there is no selinuxfs.

        """
        packets = self._known_packets()
        context = packets.contexts.packet_context
        query = f"{context(domain)} {context(packet_type)} {packets.index}"
        try:
            handle = os.open(self._root / "access", os.O_RDWR)
        except OSError:
            raise SelinuxDisabled(_OFF) from None
        try:
            os.write(handle, query.encode("ascii"))
            allowed = int(os.read(handle, 4096).split()[0], 16)
        except OSError:  # EINVAL: one of the types is not in the loaded policy
            return frozenset()
        finally:
            os.close(handle)
        return frozenset(name for name, bit in packets.permissions if allowed & bit)

    def _known_packets(self) -> _Packets:
        """Return how packets are asked about, read anew after each policy load."""
        load = self.policy_load()
        if self._packets is None or self._packets[0] != load:
            found = _Packets(
                self.contexts(), self._read("class/packet/index").strip(), self._permissions()
            )
            self._packets = load, found
        return self._packets[1]

    def _permissions(self) -> tuple[tuple[str, int], ...]:
        folder = self._root / "class/packet/perms"
        return tuple((entry.name, 1 << (int(entry.read_text()) - 1)) for entry in folder.iterdir())

    def _read(self, name: str) -> str:
        try:
            return (self._root / name).read_text("ascii").rstrip("\0\n")
        except OSError:
            raise SelinuxDisabled(_OFF) from None


class ProcHost:
    """Facts of the machine from procfs."""

    def __init__(self, path: Path = Path("/proc/sys/net/ipv4/ip_local_port_range")) -> None:
        self._path = path

    def ephemeral_ports(self) -> Interval:
        """Return the local ports that clients get, for IPv6 too (ip(7))."""
        low, high = self._path.read_text("ascii").split()
        return Interval(int(low), int(high))


def _write(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)  # files of the kernel's are neither made nor cut off
    try:
        os.write(handle, text.encode("ascii"))
    finally:
        os.close(handle)


def _split(context: str) -> tuple[str, str, str, str | None]:
    parts = context.rstrip("\0\n").split(":", 3)
    return parts[0], parts[1], parts[2], parts[3] if len(parts) > 3 else None
