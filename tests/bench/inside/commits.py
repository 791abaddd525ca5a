"""When the kernel put transactions of nftables into force, by what it tells of each."""

import os
import signal
import socket
import struct
import time

from appfwd.adapters.netlink.announcements import NFNLGRP_NFTABLES, NFT_MSG_NEWGEN
from appfwd.adapters.netlink.library import NETLINK_NETFILTER

#: linux/socket.h and linux/netlink.h.
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
#: Length and type, with which each message begins.
HEAD = struct.Struct("=IH")
STAMP = struct.Struct("d")
#: As long as the listener may take to say what it heard.
SECONDS = 5.0


class Commits:
    """The times of commits, of CLOCK_MONOTONIC.

    A process of its own waits for them, ahead of every other, so that where there is one processor
    it is not the daemon that it waits for. The kernel tells of a generation once it is in force
    (nf_tables_commit in net/netfilter/nf_tables_api.c).
    """

    def __init__(self) -> None:
        """Begin to listen."""
        heard = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        # One without an address is left out (do_one_broadcast of net/netlink/af_netlink.c).
        heard.bind((0, 0))
        heard.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        self._told, telling = socket.socketpair()
        self._told.settimeout(SECONDS)
        self._child = os.fork()
        if not self._child:
            _listen(heard, telling)
        heard.close()
        telling.close()

    def last(self, begun: float, end: float) -> float:
        """Return when the last one within a time came; what was before is forgotten.

        Raises:
            TimeoutError: there was none.
            EOFError: the listener ended.

        """
        found = begun
        while found == begun:
            if not (data := self._told.recv(1 << 16)):
                raise EOFError
            stamps = [stamp for (stamp,) in STAMP.iter_unpack(data)]
            found = max((stamp for stamp in stamps if begun < stamp <= end), default=begun)
        return found

    def close(self) -> None:
        """Listen no more."""
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        self._told.close()


def _listen(heard: socket.socket, telling: socket.socket) -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        while True:
            data = heard.recv(1 << 16)
            now = time.monotonic()
            if _tells_of_generation(data):
                telling.sendall(STAMP.pack(now))
    finally:
        os._exit(1)


def _tells_of_generation(data: bytes) -> bool:
    offset = 0
    while offset + HEAD.size <= len(data):
        length, kind = HEAD.unpack_from(data, offset)
        if kind == NFT_MSG_NEWGEN:
            return True
        offset += max(length + 3 & ~3, HEAD.size)
    return False
