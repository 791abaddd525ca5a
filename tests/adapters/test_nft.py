"""libnftables and a real kernel, in a network namespace of this test's own.

A kernel without SELinux has no secmark objects, so maps of marks stand for maps of labels here.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nftables  # type: ignore[import-untyped,unused-ignore]
import pytest

from appfwd.adapters import nft
from appfwd.adapters.nft import LibNft
from appfwd.errors import TableFailed

_CLONE_NEWNET = 0x40000000
WHERE = {"family": "inet", "table": "appfwd"}
TABLE = {"add": {"table": {"family": "inet", "name": "appfwd"}}}
MAP = {"add": {"map": {**WHERE, "name": "m", "type": "inet_service", "map": "mark"}}}
CHAIN = {"add": {"chain": {**WHERE, "name": "c"}}}


def element(verb: str, *ports: int) -> dict[str, Any]:
    rows = [[port, port * 2] for port in ports]
    return {verb: {"element": {**WHERE, "name": "m", "elem": rows}}}


def _namespace(action: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, action)(*arguments):
        raise OSError(ctypes.get_errno(), action)


@contextmanager
def own_network() -> Iterator[None]:
    """Have a network of our own; threads and programs that start meanwhile are in it."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    _namespace("unshare", _CLONE_NEWNET)
    try:
        yield
    finally:
        _namespace("setns", before, _CLONE_NEWNET)
        os.close(before)


@pytest.fixture
def adapter() -> Iterator[LibNft]:
    """Return an adapter in a network of its own."""
    with own_network():
        made = LibNft()
        yield made
        made._thread.shutdown()


def _run(adapter: LibNft, *commands: dict[str, Any]) -> None:
    asyncio.run(adapter.run(commands))


def _listed(adapter: LibNft, kind: str) -> list[Any]:
    listing = asyncio.run(adapter.list_table())
    return [entry[kind] for entry in listing if kind in entry]


def _ports(adapter: LibNft) -> dict[int, int]:
    (found,) = _listed(adapter, "map")
    return dict(found.get("elem", ()))


def _nft(command: str) -> str:
    """Run a command as nft(8) would, through another context and in text."""
    code, output, error = nftables.Nftables().cmd(command)
    assert code == 0, error
    return str(output)


def test_some_maps_are_listed_alone(adapter: LibNft) -> None:
    other = {"add": {"map": {**MAP["add"]["map"], "name": "other"}}}
    _run(adapter, TABLE, MAP, other, CHAIN, element("add", 1, 2))
    (found,) = asyncio.run(adapter.list_maps({"m", "gone"}))
    assert found["map"]["name"] == "m"
    assert dict(found["map"]["elem"]) == {1: 2, 2: 4}
    assert asyncio.run(adapter.list_maps({"gone"})) == []


def test_the_namespace_is_not_the_machines(adapter: LibNft) -> None:
    assert _nft("list ruleset") == ""
    own = Path("/proc/thread-self/ns/net").readlink()
    assert adapter._thread.submit(Path("/proc/thread-self/ns/net").readlink).result() == own


def test_where_there_is_no_table_the_listing_is_empty(adapter: LibNft) -> None:
    assert list(asyncio.run(adapter.list_table())) == []


def test_what_was_run_is_listed_and_seen_by_others(adapter: LibNft) -> None:
    _run(adapter, TABLE, MAP, element("add", 80, 443))
    assert _ports(adapter) == {80: 160, 443: 886}
    assert "elements = { 80 : 0x000000a0, 443 : 0x00000376 }" in _nft("list ruleset")


def test_other_tables_are_not_listed(adapter: LibNft) -> None:
    _nft("add table inet other")
    _nft("add table ip appfwd")
    assert list(asyncio.run(adapter.list_table())) == []


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_transaction_with_one_bad_command_changes_nothing(adapter: LibNft, place: int) -> None:
    _run(adapter, TABLE, MAP, element("add", 80))
    before = _nft("list ruleset")
    commands = [element("add", 443), element("delete", 80)]
    commands.insert(place, {"delete": {"chain": {**WHERE, "name": "absent"}}})
    with pytest.raises(TableFailed):
        _run(adapter, *commands)
    assert _nft("list ruleset") == before


def test_after_a_refusal_the_next_transaction_works(adapter: LibNft) -> None:
    with pytest.raises(TableFailed):
        _run(adapter, MAP)
    _run(adapter, TABLE, MAP)
    assert _ports(adapter) == {}


def test_a_refusal_says_nothing_of_the_kernels_own_words(
    adapter: LibNft, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TableFailed, match="the journal of appfwd has its words") as caught:
        _run(adapter, TABLE, {"delete": {"chain": {**WHERE, "name": "absent"}}})
    assert "Error:" not in str(caught.value)
    assert "No such file or directory" in caplog.text


def test_a_command_of_no_schema_is_refused(adapter: LibNft) -> None:
    with pytest.raises(TableFailed):
        _run(adapter, {"frobnicate": {}})


def test_a_table_that_another_process_owns_is_told_as_such(adapter: LibNft) -> None:
    other = nftables.Nftables()
    assert other.cmd("add table inet appfwd { flags owner; }")[0] == 0
    with pytest.raises(TableFailed, match="Another process owns the nftables table"):
        _run(adapter, TABLE, MAP)
    del other


def test_rules_with_counters_are_listed_as_given(adapter: LibNft) -> None:
    counter = {"counter": {"packets": 0, "bytes": 0}}
    rule = {"add": {"rule": {**WHERE, "chain": "c", "expr": [counter, {"accept": None}]}}}
    _run(adapter, TABLE, CHAIN, rule)
    (found,) = _listed(adapter, "rule")
    assert found["expr"] == [counter, {"accept": None}]


def test_keys_of_three_parts_come_back_as_ranges_and_prefixes(adapter: LibNft) -> None:
    parts = ["ipv4_addr", "inet_proto", "inet_service"]
    made = {"name": "w", "type": parts, "map": "mark", "flags": ["interval"]}
    keys = [
        {"concat": [{"range": ["10.0.0.0", "10.0.0.255"]}, 6, {"range": [80, 90]}]},
        {"concat": ["10.0.1.1", {"range": [0, 255]}, {"range": [0, 65535]}]},
    ]
    elements = {**WHERE, "name": "w", "elem": [[key, 1] for key in keys]}
    _run(adapter, TABLE, {"add": {"map": {**WHERE, **made}}}, {"add": {"element": elements}})
    (found,) = _listed(adapter, "map")
    assert (found["type"], found["map"], found["flags"]) == (parts, "mark", ["interval"])
    addresses = [key["concat"][0] for key, _ in found["elem"]]
    assert {"prefix": {"addr": "10.0.0.0", "len": 24}} in addresses
    assert "10.0.1.1" in addresses


def test_many_at_once_are_run_one_after_the_other(adapter: LibNft) -> None:
    async def all_at_once() -> None:
        await asyncio.gather(*(adapter.run([element("add", port)]) for port in range(1, 101)))

    _run(adapter, TABLE, MAP)
    asyncio.run(all_at_once())
    assert set(_ports(adapter)) == set(range(1, 101))


def test_a_large_map_is_replaced_in_one_transaction(adapter: LibNft) -> None:
    _run(adapter, TABLE, MAP, element("add", *range(1, 5001)))
    gone = {"delete": {"map": {**WHERE, "name": "m"}}}
    _run(adapter, gone, MAP, element("add", *range(4000, 6000)))
    assert set(_ports(adapter)) == set(range(4000, 6000))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("Error: Could not process rule: Operation not permitted", "Another process owns"),
        ("Error: Could not process rule: Permission denied", "relabelto"),
        ("Error: Could not process rule: Operation not supported", "built without a part"),
        ("Error: Could not process rule: Invalid argument", "a label is not in its policy"),
        ("Error: something else", "refused the nftables transaction"),
    ],
)
def test_the_kernels_reasons_are_put_in_words_that_help(error: str, says: str) -> None:
    assert says in nft._explain(error)
