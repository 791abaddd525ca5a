"""Elements of our table's maps, looked up one by one."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import struct
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from appfwd.adapters.netlink.library import NETLINK_NETFILTER, library
from appfwd.errors import TableFailed

log = logging.getLogger(__name__)

#: linux/netfilter/nfnetlink.h and nf_tables.h: subsystem in the high byte of a message's type.
NFT_MSG_NEWSETELEM, NFT_MSG_GETSETELEM = 10 << 8 | 12, 10 << 8 | 13
#: linux/netlink.h, and the family of our table, NFPROTO_INET (linux/netfilter.h).
_NLM_F_REQUEST, _NFPROTO_INET = 1, 1


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
        message = library("netlink.nfnetlink.nftsocket").nft_set_elem_list_msg()
        message["nfgen_family"] = _NFPROTO_INET
        message["attrs"] = [
            ("NFTA_SET_ELEM_LIST_TABLE", "appfwd"),
            ("NFTA_SET_ELEM_LIST_SET", name),
            ("NFTA_SET_ELEM_LIST_ELEMENTS", [element]),
        ]
        errors = library("netlink.exceptions").NetlinkError
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
            kind = library("netlink.nfnetlink.nftsocket").nft_set_elem_list_msg
            self._socket = library("netlink.nlsocket").NetlinkSocket(family=NETLINK_NETFILTER)
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
