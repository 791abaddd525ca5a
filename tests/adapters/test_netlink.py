"""Announcements of a real kernel's nftables, in a network namespace of this test's own.

Policy announcements need a kernel with SELinux: tests/guest/test_changes.py has them.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from appfwd.adapters.netlink import announcements
from appfwd.adapters.netlink.elements import MapElements, packed_key
from appfwd.adapters.nft import LibNft
from tests.adapters.test_nft import CHAIN, MAP, TABLE, element, own_network


@pytest.fixture(autouse=True)
def _network() -> Iterator[None]:
    with own_network():
        yield


def _nft(text: str) -> None:
    subprocess.run(["/usr/sbin/nft", "-f", "-"], input=text, text=True, check=True)


async def _heard(act: str, seconds: float = 0.3) -> int:
    calls: list[None] = []
    subscription = announcements.table_announcements(lambda: calls.append(None))
    await asyncio.to_thread(_nft, act)
    await asyncio.sleep(seconds)
    subscription.close()
    return len(calls)


def test_another_process_is_heard_once_a_transaction() -> None:
    assert asyncio.run(_heard("add table ip a; add table ip b")) == 1


def test_our_own_transactions_are_not_heard() -> None:
    async def story() -> int:
        calls: list[None] = []
        subscription = announcements.table_announcements(lambda: calls.append(None))
        await LibNft().run([TABLE, CHAIN])
        await asyncio.sleep(0.3)
        subscription.close()
        return len(calls)

    assert asyncio.run(story()) == 0


def test_a_burst_that_overruns_the_buffer_is_heard() -> None:
    """What was lost is made good by the one call that says: read anew."""

    async def story() -> int:
        calls: list[None] = []
        subscription = announcements.table_announcements(lambda: calls.append(None))
        chains = "".join(f"add chain ip t c{n};\n" for n in range(20_000))
        _nft(f"add table ip t;\n{chains}")  # while the event loop stands still
        assert _drops()
        await asyncio.sleep(1)
        calls.clear()
        _nft("add table ip last")
        await asyncio.sleep(0.3)
        subscription.close()
        return len(calls)

    assert asyncio.run(story()) == 1


@pytest.mark.parametrize("deaf", [True, False])
def test_of_our_own_large_transactions_nothing_is_announced_but_that_all_is_read_anew(
    deaf: bool,  # noqa: FBT001
) -> None:
    """Of each element the kernel would make an announcement, as it does where we listen."""

    async def story() -> None:
        calls: list[None] = []
        came: list[object] = []
        subscription = announcements.table_announcements(lambda: calls.append(None))
        wanted = subscription.wanted
        subscription.wanted = lambda message: wanted(came.append(message) or message)  # type: ignore[method-assign,func-returns-value]
        nft = LibNft()
        if deaf:
            nft.around_large = subscription.deaf
        await nft.run([TABLE, MAP, element("add", *range(1, 20_001))])
        await asyncio.sleep(0.3)
        assert bool(came or _drops()) is not deaf
        assert len(calls) == 1 or not deaf
        calls.clear()
        await asyncio.to_thread(_nft, "add table ip a")
        for _ in range(100):  # some thousands of announcements may be before it
            await asyncio.sleep(0.3)
            if calls:
                break
        subscription.close()
        assert len(calls) == 1

    asyncio.run(story())


def _drops() -> int:
    """Return how many announcements of this network's nftables found no room."""
    rows = [row.split() for row in Path("/proc/thread-self/net/netlink").read_text().splitlines()]
    return sum(int(row[8]) for row in rows[1:] if row[1] == "12")


def test_only_what_is_needed_of_the_library_is_loaded() -> None:
    program = (
        "import sys; from appfwd.adapters.netlink.library import library;"
        "library('netlink.nlsocket'); library('netlink.nfnetlink.nftsocket');"
        "print('pyroute2.ndb' in sys.modules)"
    )
    words = [sys.executable, "-c", program]
    assert subprocess.run(words, check=True, capture_output=True, text=True).stdout == "False\n"


#: Without SELinux there are no labels; elements of other objects are named the same way.
_MAPS = """
table inet appfwd {
    counter one { }
    counter other { }
    map points4 { type ipv4_addr . inet_proto . inet_service : counter
        elements = { 10.0.0.5 . 6 . 443 : "one", 10.0.0.5 . 17 . 53 : "other" } }
    map points6 { type ipv6_addr . inet_proto . inet_service : counter
        elements = { 2001:db8::5 . 6 . 443 : "one", 2001:db8::5 . 17 . 53 : "other" } }
}
"""


@pytest.mark.parametrize(
    ("name", "here", "elsewhere"),
    [("points4", "10.0.0.5", "10.0.0.6"), ("points6", "2001:db8::5", "2001:db8::6")],
)
def test_elements_are_looked_up_one_by_one(name: str, here: str, elsewhere: str) -> None:
    _nft(_MAPS)
    parts = [(here, 6, 443), (here, 17, 443), (elsewhere, 6, 443), (here, 17, 53)]
    keys = [{"concat": list(part)} for part in parts]

    async def story(elements: MapElements) -> None:
        assert await elements.labels(name, keys) == ["one", None, None, "other"]
        assert await elements.labels("none", keys[:1]) == [None]
        await asyncio.to_thread(_nft, f"delete element inet appfwd {name} {{ {here} . 6 . 443 }}")
        assert await elements.labels(name, keys) == [None, None, None, "other"]

    with closing(MapElements()) as elements:
        asyncio.run(story(elements))


def test_among_many_each_is_found_and_no_other() -> None:
    rows = ", ".join(f'10.0.{n >> 8}.{n & 255} . 6 . {n + 1} : "one"' for n in range(500))
    _nft(_MAPS.replace('10.0.0.5 . 6 . 443 : "one", 10.0.0.5 . 17 . 53 : "other"', rows))
    keys = [{"concat": [f"10.0.{n >> 8}.{n & 255}", 6, n + 1]} for n in range(500)]
    others = [{"concat": [f"10.0.{n >> 8}.{n & 255}", 6, n + 2]} for n in range(500)]

    async def story(elements: MapElements) -> None:
        assert set(await elements.labels("points4", keys)) == {"one"}
        assert set(await elements.labels("points4", others)) == {None}

    with closing(MapElements()) as elements:
        asyncio.run(story(elements))


@pytest.mark.parametrize("part", ["10.0.0.5 }", "", None, 1.5, -1, 70000])
@pytest.mark.parametrize("at", [1, 2])
def test_a_key_is_of_an_address_and_two_numbers(part: object, at: int) -> None:
    parts: list[object] = ["10.0.0.5", 6, 443]
    parts[at] = part
    with pytest.raises(ValueError, match="no key of a point"):
        packed_key({"concat": parts})
