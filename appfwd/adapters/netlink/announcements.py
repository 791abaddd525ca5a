"""What the kernel announces: policy loads, and other programs' changes of nftables."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appfwd.adapters.netlink.library import NETLINK_NETFILTER, library

log = logging.getLogger(__name__)

#: linux/netlink.h and linux/selinux_netlink.h; groups are bits of sockaddr_nl.nl_groups.
NETLINK_SELINUX, SELNLGRP_AVC = 7, 1 << 0
SELNL_MSG_SETENFORCE, SELNL_MSG_POLICYLOAD = 0x10, 0x11
#: linux/netfilter/nfnetlink.h and nf_tables.h: the group's number, whose bit is one less; and the
#: subsystem in the high byte of a message's type.
NFNLGRP_NFTABLES = 7
NFT_MSG_NEWGEN = 10 << 8 | 15

#: The kernel drops announcements that find the buffer full, and says so: all is read anew then.
_BUFFER = 1 << 20
#: Messages taken at once, so that a flood never holds the event loop.
_AT_ONCE = 64


class Announcements:
    """A subscription; ``heard`` is called on the event loop, at most once a batch of messages."""

    def __init__(self, family: int, groups: int, heard: Callable[[], None]) -> None:
        self._heard = heard
        socket = library("netlink.nlsocket").NetlinkSocket(family=family, rcvbuf=_BUFFER)
        socket.bind(groups=groups)
        self._socket = socket
        os.set_blocking(socket.fileno(), False)
        asyncio.get_running_loop().add_reader(socket.fileno(), self._read)

    def wanted(self, message: Any) -> bool:
        """Tell whether a message is of interest; all are, where a subclass does not say."""
        return bool(message)

    def close(self) -> None:
        """End the subscription."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def _read(self) -> None:
        interesting = False
        for _ in range(_AT_ONCE):
            try:
                for message in self._socket.get():
                    interesting = self.wanted(message) or interesting
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                interesting = True
        if interesting:
            self._heard()


class Generations(Announcements):
    """Commits of nftables by processes other than this one."""

    def __init__(self, heard: Callable[[], None]) -> None:
        super().__init__(NETLINK_NETFILTER, 1 << NFNLGRP_NFTABLES - 1, heard)
        self._socket.register_policy({NFT_MSG_NEWGEN: _generation_class()})

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Hear nothing within; that something may have been missed is told afterwards.

        While anybody listens the kernel holds an announcement of 4 KiB for each element of a
        transaction until its commit (nf_tables_setelem_notify): of 100,000 some 400 MiB.
        """
        self._socket.drop_membership(NFNLGRP_NFTABLES)
        try:
            yield
        finally:
            self._socket.add_membership(NFNLGRP_NFTABLES)
            self._heard()

    def wanted(self, message: Any) -> bool:
        """Tell whether a message ends a transaction of another process."""
        if message["header"]["type"] != NFT_MSG_NEWGEN:
            return False
        # The kernel names the thread, not the process (nf_tables_fill_gen_info: task_pid_nr).
        thread = dict(message.get("attrs", ())).get("NFTA_GEN_PROC_PID")
        return not Path(f"/proc/self/task/{thread}").exists()


def _generation_class() -> Any:
    """Return the class of NFT_MSG_NEWGEN: attributes of linux/netfilter/nf_tables.h, nft_gen."""
    attributes = (
        ("NFTA_GEN_UNSPEC", "none"),
        ("NFTA_GEN_ID", "be32"),
        ("NFTA_GEN_PROC_PID", "be32"),
        ("NFTA_GEN_PROC_NAME", "asciiz"),
    )
    base = library("netlink.nfnetlink").nfgen_msg
    return type("nft_gen", (base,), {"nla_map": attributes, "prefix": "NFTA_"})


def policy_announcements(heard: Callable[[], None]) -> Announcements:
    """Hear of policy loads, commits of booleans and changes of enforcing (security/selinux)."""
    return Announcements(NETLINK_SELINUX, SELNLGRP_AVC, heard)


def table_announcements(heard: Callable[[], None]) -> Generations:
    """Hear of nftables transactions by other processes."""
    return Generations(heard)
