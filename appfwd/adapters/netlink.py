"""What the kernel announces (policy loads, other programs' changes of nftables), and map elements.

pyroute2 reads netlink for us. Its package imports every tool of the library, a web server too, so
only the module that is needed is loaded, without the package's own start.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import importlib.util
import ipaddress
import logging
import os
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from appfwd.errors import TableFailed

log = logging.getLogger(__name__)

#: linux/netlink.h and linux/selinux_netlink.h; groups are bits of sockaddr_nl.nl_groups.
NETLINK_SELINUX, SELNLGRP_AVC = 7, 1 << 0
SELNL_MSG_SETENFORCE, SELNL_MSG_POLICYLOAD = 0x10, 0x11
#: linux/netfilter/nfnetlink.h and nf_tables.h: subsystem in the high byte of a message's type.
NETLINK_NETFILTER, NFNLGRP_NFTABLES = 12, 1 << 6
NFT_MSG_NEWGEN = 10 << 8 | 15
NFT_MSG_NEWSETELEM, NFT_MSG_GETSETELEM = 10 << 8 | 12, 10 << 8 | 13
#: linux/netlink.h, and the family of our table, NFPROTO_INET (linux/netfilter.h).
_NLM_F_REQUEST, _NFPROTO_INET = 1, 1

#: The kernel drops announcements that find the buffer full, and says so: all is read anew then.
_BUFFER = 1 << 20
#: Messages taken at once, so that a flood never holds the event loop.
_AT_ONCE = 64


def _library(module: str) -> Any:
    """Import a module of pyroute2 without running the package's ``__init__``."""
    if "pyroute2" not in sys.modules:
        spec = importlib.util.find_spec("pyroute2")
        if spec is None:
            raise ModuleNotFoundError(name="pyroute2")
        sys.modules["pyroute2"] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"pyroute2.{module}")


class Announcements:
    """A subscription; ``heard`` is called on the event loop, at most once a batch of messages."""

    def __init__(self, family: int, groups: int, heard: Callable[[], None]) -> None:
        self._heard = heard
        socket = _library("netlink.nlsocket").NetlinkSocket(family=family, rcvbuf=_BUFFER)
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


class _Generations(Announcements):
    """Commits of nftables by processes other than this one."""

    def __init__(self, heard: Callable[[], None]) -> None:
        super().__init__(NETLINK_NETFILTER, NFNLGRP_NFTABLES, heard)
        self._socket.register_policy({NFT_MSG_NEWGEN: _generation_class()})

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
    base = _library("netlink.nfnetlink").nfgen_msg
    return type("nft_gen", (base,), {"nla_map": attributes, "prefix": "NFTA_"})


class MapElements:
    """Looks elements up in maps of our table that have no intervals, one by one.

    libnftables has elements too (`nft get element`), but lists the whole map for each, which takes
    half a second of an emulated processor for 10,000.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="elements")
        self._socket: Any = None

    async def labels(self, name: str, keys: Sequence[Mapping[str, Any]]) -> Sequence[str | None]:
        """Return the object that each element names, None for each that is not there.

        Raises:
            TableFailed: the kernel did not answer.
            ValueError: a key is not of an address, a protocol and a port.

        """
        packed = [packed_key(key) for key in keys]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._labels, name, packed)

    def close(self) -> None:
        """Close the socket, when no call is under way."""
        if self._socket is not None:
            self._socket.close()
        self._thread.shutdown()

    def _labels(self, name: str, keys: Sequence[bytes]) -> list[str | None]:
        try:
            return [self._label(name, key) for key in keys]
        except OSError as error:
            msg = "The kernel did not tell the elements of a map; the journal of appfwd says more."
            log.error("the elements of %s cannot be had: %s", name, error)
            raise TableFailed(msg) from error

    def _label(self, name: str, key: bytes) -> str | None:
        element = {"attrs": [("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", key)]})]}
        message = _library("netlink.nfnetlink.nftsocket").nft_set_elem_list_msg()
        message["nfgen_family"] = _NFPROTO_INET
        message["attrs"] = [
            ("NFTA_SET_ELEM_LIST_TABLE", "appfwd"),
            ("NFTA_SET_ELEM_LIST_SET", name),
            ("NFTA_SET_ELEM_LIST_ELEMENTS", [element]),
        ]
        errors = _library("netlink.exceptions").NetlinkError
        try:
            answers = self._opened().nlm_request(message, NFT_MSG_GETSETELEM, _NLM_F_REQUEST)
            (found,) = (row for answer in answers for row in _elements_in(answer))
        except errors as error:
            if error.code == errno.ENOENT:
                return None
            raise OSError(error.code, os.strerror(error.code)) from error
        return str(found.get_attr("NFTA_SET_ELEM_OBJREF"))

    def _opened(self) -> Any:
        if self._socket is None:
            kind = _library("netlink.nfnetlink.nftsocket").nft_set_elem_list_msg
            self._socket = _library("netlink.nlsocket").NetlinkSocket(family=NETLINK_NETFILTER)
            self._socket.register_policy({NFT_MSG_NEWSETELEM: kind})
            self._socket.bind()
        return self._socket


def packed_key(key: Mapping[str, Any]) -> bytes:
    """Return a key, as a transaction has it, as the kernel compares it: each part of whole words.

    Raises:
        ValueError: it is not of an address, a protocol and a port.

    """
    try:
        address, protocol, port = key["concat"]
        parts = (ipaddress.ip_address(address).packed, struct.pack("=B3x", protocol))
        return b"".join((*parts, struct.pack(">H2x", port)))
    except (KeyError, TypeError, struct.error) as error:
        msg = f"no key of a point: {key}"
        raise ValueError(msg) from error


def _elements_in(answer: Any) -> Sequence[Any]:
    return answer.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS") or ()


def policy_announcements(heard: Callable[[], None]) -> Announcements:
    """Hear of policy loads, commits of booleans and changes of enforcing (security/selinux)."""
    return Announcements(NETLINK_SELINUX, SELNLGRP_AVC, heard)


def table_announcements(heard: Callable[[], None]) -> Announcements:
    """Hear of nftables transactions by other processes."""
    return _Generations(heard)
