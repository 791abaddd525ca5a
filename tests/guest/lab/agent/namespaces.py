"""Entering a named network namespace, and giving sockets a label: both hold for one thread."""

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000
SOCKET_LABEL = Path("/proc/thread-self/attr/sockcreate")

_libc = ctypes.CDLL(None, use_errno=True)


def enter_network(name: str) -> None:
    """Move the calling thread into a named network namespace; "" stays where it is.

    `ip netns exec` would hide selinuxfs as well, which this doesn't.
    """
    if not name:
        return
    namespace = os.open(NAMESPACES / name, os.O_RDONLY)
    try:
        if _libc.setns(namespace, CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), name)
    finally:
        os.close(namespace)


@contextmanager
def socket_label(context: str) -> Iterator[None]:
    """Give the sockets that this thread makes meanwhile a security context; "" changes nothing."""
    if not context:
        yield
        return
    _write_label(context)
    try:
        yield
    finally:
        _write_label("\n")


def labelled_socket(
    context: str, family: int, kind: int, protocol: int, netns: str
) -> socket.socket:
    """Make a socket with a security context, in a named network namespace."""
    enter_network(netns)
    with socket_label(context):
        return socket.socket(family, kind, protocol)


def _write_label(text: str) -> None:
    label = os.open(SOCKET_LABEL, os.O_WRONLY)
    try:
        os.write(label, text.encode())
    finally:
        os.close(label)
