"""nftables through libnftables: one context on one thread, transactions as JSON.

The table belongs to the netlink socket of the context (``flags owner``), so the context lives as
long as the daemon. libnftables is not safe to use from two threads at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import nftables  # type: ignore[import-untyped,unused-ignore]

from appfwd.errors import TableFailed

log = logging.getLogger(__name__)

_WHERE = {"family": "inet", "table": "appfwd"}
_LIST = {"list": {"table": {"family": "inet", "name": "appfwd"}}}
_MISSING = "No such file or directory"
#: Elements of a transaction from which on it counts what the kernel announces of each.
LARGE = 1000


class LibNft:
    """Runs transactions and lists our table."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nft")
        self._context: Any = None
        #: What is entered for transactions of more elements than LARGE.
        self.around_large: Callable[[], AbstractContextManager[None]] = nullcontext

    async def run(self, commands: Sequence[Mapping[str, Any]]) -> None:
        """Run ``commands`` as one transaction.

        Raises:
            TableFailed: the kernel refused; none of the commands took effect.

        """
        large = _elements(commands) > LARGE
        with self.around_large() if large else nullcontext():
            code, _, error = await self._command(list(commands))
        if code:
            log.error("nft transaction refused: %s", error.strip())
            raise TableFailed(_explain(error))

    async def list_table(self, *, terse: bool = False) -> Sequence[Mapping[str, Any]]:
        """Return the objects of our table, without elements if ``terse``; nothing where it is not.

        Raises:
            TableFailed: the kernel did not answer.

        """
        code, output, error = await self._command([_LIST], terse=terse)
        if code:
            if _MISSING in error:
                return ()
            raise TableFailed(_explain(error))
        listing: list[dict[str, Any]] = json.loads(output)["nftables"]
        return listing

    async def list_maps(self, names: Collection[str]) -> Sequence[Mapping[str, Any]]:
        """Return some maps of our table, and nothing else of it; none for a name that it lacks.

        Raises:
            TableFailed: the kernel did not answer.

        """
        found: list[dict[str, Any]] = []
        for name in sorted(names):
            command = {"list": {"map": {**_WHERE, "name": name}}}
            code, output, error = await self._command([command])
            if code and _MISSING not in error:
                raise TableFailed(_explain(error))
            if not code:
                found += (row for row in json.loads(output)["nftables"] if "map" in row)
        return found

    async def list_ruleset(self) -> Sequence[Mapping[str, Any]]:
        """Return the objects of every table, without the elements of sets and maps.

        Raises:
            TableFailed: the kernel did not answer.

        """
        code, output, error = await self._command([{"list": {"ruleset": None}}], terse=True)
        if code:
            raise TableFailed(_explain(error))
        listing: list[dict[str, Any]] = json.loads(output)["nftables"]
        return listing

    async def _command(self, commands: list[Any], *, terse: bool = False) -> tuple[int, str, str]:
        loop = asyncio.get_running_loop()
        text = json.dumps({"nftables": commands})
        return await loop.run_in_executor(self._thread, self._run, text, terse)

    def _run(self, text: str, terse: bool) -> tuple[int, str, str]:  # noqa: FBT001
        if self._context is None:
            self._context = nftables.Nftables()
            self._context.set_json_output(val=True)
            self._context.set_numeric_proto_output(val=True)
        self._context.set_terse_output(terse)
        code, output, error = self._context.cmd(text)
        return int(code), str(output), str(error)


def _elements(commands: Sequence[Mapping[str, Any]]) -> int:
    """Return how many elements a transaction adds and deletes."""
    whats = (what for command in commands for what in command.values() if what)
    return sum(len(what["element"]["elem"]) for what in whats if "element" in what)


def _explain(error: str) -> str:
    if "Operation not permitted" in error:
        return (
            "Another process owns the nftables table inet appfwd; is a second appfwd running? "
            "'systemctl restart appfwd' after ending it."
        )
    if "Permission denied" in error:
        return (
            "SELinux does not let appfwd label packets with its types (permission relabelto); "
            "'ausearch -m avc' or 'dmesg' shows the denial."
        )
    if "Operation not supported" in error:
        return (
            "The kernel was built without a part that the table needs: nf_tables with inet, "
            "conntrack with secmark and labels, XFRM; see 'Install it' in the README."
        )
    if "Invalid argument" in error:
        return "The kernel refused the table: a label is not in its policy, or it lacks a feature."
    return "The kernel refused the nftables transaction; the journal of appfwd has its words."
