"""Announcements of a real kernel's nftables, in a network namespace of this test's own.

Policy announcements need a kernel with SELinux: tests/guest/test_changes.py has them.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from appfwd.adapters import netlink
from appfwd.adapters.nft import LibNft
from tests.adapters.test_nft import CHAIN, TABLE, own_network


@pytest.fixture(autouse=True)
def _network() -> Iterator[None]:
    with own_network():
        yield


def _nft(text: str) -> None:
    subprocess.run(["/usr/sbin/nft", "-f", "-"], input=text, text=True, check=True)


async def _heard(act: str, seconds: float = 0.3) -> int:
    calls: list[None] = []
    subscription = netlink.table_announcements(lambda: calls.append(None))
    await asyncio.to_thread(_nft, act)
    await asyncio.sleep(seconds)
    subscription.close()
    return len(calls)


def test_another_process_is_heard_once_a_transaction() -> None:
    assert asyncio.run(_heard("add table ip a; add table ip b")) == 1


def test_our_own_transactions_are_not_heard() -> None:
    async def story() -> int:
        calls: list[None] = []
        subscription = netlink.table_announcements(lambda: calls.append(None))
        await LibNft().run([TABLE, CHAIN])
        await asyncio.sleep(0.3)
        subscription.close()
        return len(calls)

    assert asyncio.run(story()) == 0


def test_a_burst_that_overruns_the_buffer_is_heard() -> None:
    """What was lost is made good by the one call that says: read anew."""

    async def story() -> int:
        calls: list[None] = []
        subscription = netlink.table_announcements(lambda: calls.append(None))
        many = "".join(f"add table ip t{n}; add chain ip t{n} c;\n" for n in range(20_000))
        _nft(many)  # while the event loop stands still
        await asyncio.sleep(1)
        calls.clear()
        _nft("add table ip last")
        await asyncio.sleep(0.3)
        subscription.close()
        return len(calls)

    assert asyncio.run(story()) == 1


def test_only_what_is_needed_of_the_library_is_loaded() -> None:
    program = (
        "import sys; from appfwd.adapters import netlink;"
        "netlink._library('netlink.nlsocket'); print('pyroute2.ndb' in sys.modules)"
    )
    words = [sys.executable, "-c", program]
    assert subprocess.run(words, check=True, capture_output=True, text=True).stdout == "False\n"
