"""AVC records from the kernel's audit system, as they happen.

The audit system sends a copy of every record to a netlink group that anybody with CAP_AUDIT_READ
can join, beside auditd or without it (``kauditd_send_multicast_skb``, kernel/audit.c), from the
first network namespace only. Where the group cannot be joined, the journal has the records too.
Either loses records under a flood, and says so.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from appfwd.errors import Unavailable

try:
    from systemd import journal
except ImportError:  # outside of a service, as in a developer's virtual environment
    journal = None

log = logging.getLogger(__name__)

Heard = Callable[[Sequence[str]], None]
Lost = Callable[[], None]

#: linux/netlink.h and linux/audit.h; groups are bits of sockaddr_nl.nl_groups.
NETLINK_AUDIT, AUDIT_NLGRP_READLOG = 9, 1 << 0
#: What SELinux sends. User space has types of its own, 1005, 1100 to 1199 and 2100 to 2999.
AUDIT_AVC = 1400
#: The longest text of a record, in bytes (MAX_AUDIT_MESSAGE_LENGTH, libaudit.h).
MAX_LENGTH = 8970

#: asm-generic/socket.h; Python has no name for it.
_SO_RCVBUFFORCE = 33
#: Bytes that wait for us while the event loop is busy: some seconds of a flood.
_BUFFER = 4 << 20
#: Records taken at once, so that a flood never holds the event loop.
_AT_ONCE = 256
#: Records of the journal that are remembered, to know the other copy of one.
_REMEMBERED = 1024

#: struct nlmsghdr: nlmsg_len, nlmsg_type, nlmsg_flags, nlmsg_seq, nlmsg_pid.
_HEADER = struct.Struct("=IHHII")

_PRINTED = re.compile(r"audit: type=(?P<type>[0-9]+) (?P<text>audit\([^ )]*\): .*)", re.DOTALL)
#: lib/ratelimit.c for kauditd_printk_skb, and audit_log_lost (kernel/audit.c).
_SUPPRESSED = re.compile(r"kauditd_printk_skb: [0-9]+ callbacks suppressed|audit: audit_lost=.*")


def avc_texts(datagram: bytes) -> list[str]:
    """Return the texts of the AVC messages in one datagram from the kernel.

    Nothing is believed of the lengths within. A message that does not fit ends the reading.
    """
    texts = []
    at = 0
    while len(datagram) - at >= _HEADER.size:
        length, kind = _HEADER.unpack_from(datagram, at)[:2]
        left = len(datagram) - at
        if _counts_payload_only(datagram, at, length):
            length = left
        if not _HEADER.size <= length <= left:
            break
        text = datagram[at + _HEADER.size : at + length].rstrip(b"\0")
        if kind == AUDIT_AVC and len(text) <= MAX_LENGTH:
            texts.append(text.decode("ascii", "replace"))
        at += length + -length % 4
    return texts


def _counts_payload_only(datagram: bytes, at: int, length: int) -> bool:
    """Tell a last message whose length leaves its header out, as auditd gets it."""
    if len(datagram) - at - length != _HEADER.size:
        return False
    # What is left can also be a message without a payload.
    return bool(length % 4 or _HEADER.unpack_from(datagram, at + length)[0] != _HEADER.size)


class AuditRecords:
    """A subscription to the kernel's audit messages, from its making until it is closed.

    ``heard`` gets the texts of AVC records, ``audit(`` first; ``lost`` is called where the kernel
    had to drop some. Both are called on the event loop, at most once a wake each.

    Raises:
        OSError: the group cannot be joined; PermissionError without CAP_AUDIT_READ.

    """

    def __init__(self, heard: Heard, lost: Lost) -> None:
        self._heard, self._lost = heard, lost
        self._socket = _joined()
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        """End the subscription."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        texts: list[str] = []
        lost = False
        for _ in range(_AT_ONCE):
            try:
                datagram, sender = self._socket.recvfrom(2 * MAX_LENGTH)
            except BlockingIOError:
                break
            except OSError as error:
                # The error is taken off the socket by reading it, so this is no endless loop.
                if error.errno != errno.ENOBUFS:
                    log.warning("an audit message could not be read: %s", error.strerror)
                lost = True
                continue
            if sender[0] == 0:  # the kernel; programs with CAP_NET_ADMIN can send here too
                texts += avc_texts(datagram)
        if texts:
            self._heard(texts)
        if lost:
            self._lost()


def _joined() -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    made = socket.socket(socket.AF_NETLINK, kind, NETLINK_AUDIT)
    try:
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:  # without CAP_NET_ADMIN, as much as net.core.rmem_max lets us
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        made.bind((0, AUDIT_NLGRP_READLOG))
    except BaseException:
        made.close()
        raise
    return made


def journal_text(entry: Mapping[str, Any]) -> str | None:
    """Return the AVC record in an entry of the journal, in the form that the kernel sends it.

    None: the entry is none. journald reads the group itself and cuts the record's head off, into
    fields that nobody else can write (journald-audit.c); the kernel prints records whole where no
    auditd takes them.
    """
    message = entry.get("MESSAGE")
    if not isinstance(message, str) or "avc:" not in message:
        return None
    if entry.get("_TRANSPORT") == "kernel" and entry.get("SYSLOG_FACILITY") == 0:
        found = _PRINTED.fullmatch(message)
        return found["text"] if found and int(found["type"]) == AUDIT_AVC else None
    if entry.get("_TRANSPORT") != "audit" or entry.get("_AUDIT_TYPE") != str(AUDIT_AVC):
        return None
    stamp, serial = entry.get("_SOURCE_REALTIME_TIMESTAMP"), entry.get("_AUDIT_ID")
    if not isinstance(stamp, int) or not isinstance(serial, str):
        return None
    seconds, millis = divmod(stamp // 1000, 1000)
    _name, _, text = message.partition(" ")
    return f"audit({seconds}.{millis:03}:{serial}): {text}"


class JournalRecords:
    """The same from the journal, for where the group cannot be joined.

    Records come later and fewer so: the kernel prints few of a flood. ``folder`` has the journal's
    files; None: the machine's own.

    Raises:
        OSError: there is no journal, or no library to read it.

    """

    def __init__(self, heard: Heard, lost: Lost, folder: Path | None = None) -> None:
        self._heard, self._lost = heard, lost
        self._remembered: dict[str, None] = {}
        self._again: asyncio.Handle | None = None
        self._reader = _opened(folder)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader.fileno(), self._read)

    def close(self) -> None:
        """End the reading."""
        self._loop.remove_reader(self._reader.fileno())
        if self._again is not None:
            self._again.cancel()
        self._reader.close()

    def _read(self) -> None:
        texts: list[str] = []
        lost = False
        self._again = None
        try:
            self._reader.process()
            for _ in range(_AT_ONCE):
                entry = self._reader.get_next()
                if not entry:
                    break
                lost = lost or _SUPPRESSED.fullmatch(str(entry.get("MESSAGE"))) is not None
                text = journal_text(entry)
                if text is not None and self._is_first(text):
                    texts.append(text)
            else:  # no more wakes come for what is there already
                self._again = self._loop.call_soon(self._read)
        except OSError as error:
            log.warning("the journal could not be read: %s", error.strerror)
            lost = True
        if texts:
            self._heard(texts)
        if lost:
            self._lost()

    def _is_first(self, text: str) -> bool:
        """Tell whether a record was not heard yet: both journald and the kernel may log it."""
        stamp = text.partition(")")[0]
        if stamp in self._remembered:
            return False
        self._remembered[stamp] = None
        if len(self._remembered) > _REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        return True


def _opened(folder: Path | None) -> Any:
    """Return a reader that stands after the journal's last entry."""
    if journal is None:
        raise FileNotFoundError(errno.ENOENT, "python3-systemd is not installed")
    converters = {
        "MESSAGE": lambda value: value.decode("ascii", "replace"),
        "_SOURCE_REALTIME_TIMESTAMP": int,
    }
    reader = journal.Reader(path=folder and str(folder), converters=converters)
    if folder is None and not (reader.has_runtime_files() or reader.has_persistent_files()):
        reader.close()
        raise FileNotFoundError(errno.ENOENT, "there are no files of a journal")
    try:
        reader.add_match(_TRANSPORT="audit", _AUDIT_TYPE=str(AUDIT_AVC))
        reader.add_disjunction()
        # What a program wrote to /dev/kmsg is the kernel's too for journald, but of a facility of
        # its own: the kernel keeps 0 for itself (devkmsg_write, kernel/printk/printk.c).
        reader.add_match(_TRANSPORT="kernel", SYSLOG_FACILITY="0")
        # By time: from the tail, the first that is read would be the last that is there.
        reader.seek_realtime(time.time())
        reader.fileno()  # starts the watch, so that nothing from here on is missed
    except BaseException:
        reader.close()
        raise
    return reader


def audit_records(heard: Heard, lost: Lost) -> AuditRecords | JournalRecords:
    """Hear AVC records from the kernel, or else from the journal, and log from which.

    Raises:
        Unavailable: neither can be had.

    """
    try:
        made: AuditRecords | JournalRecords = AuditRecords(heard, lost)
    except OSError as error:
        refused = error
    else:
        log.info("hearing AVC records from the kernel")
        return made
    try:
        made = JournalRecords(heard, lost)
    except OSError as error:
        msg = (
            f"AVC records can be had neither from the kernel ({refused.strerror}) nor from the "
            f"journal ({error.strerror}); run appfwd from its unit, which has CAP_AUDIT_READ."
        )
        raise Unavailable(msg) from error
    log.warning(
        "hearing AVC records from the journal, since the kernel refuses them (%s); "
        "many are lost so, and CAP_AUDIT_READ would help",
        refused.strerror,
    )
    return made
