"""What an address is called, from what this machine knows already; nothing is asked of the network.

That is /etc/hosts (hosts(5)), and the cache of systemd-resolved where that runs: the names that
programs asked for lately and the addresses they got (varlink, io.systemd.Resolve.Monitor, since
systemd 254). A program can have any name asked for that its own server answers for, so a name is a
hint and no proof.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HOSTS = Path("/etc/hosts")
_MONITOR = Path("/run/systemd/resolve/io.systemd.Resolve.Monitor")
_DUMP = b'{"method":"io.systemd.Resolve.Monitor.DumpCache"}\0'
#: Seconds that the resolver may take, and bytes of its answer.
_PATIENCE, _ANSWER = 1.0, 4 << 20
#: Lines of /etc/hosts that are looked at.
_LINES = 10_000
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)


class KnownNames:
    """Tells names of addresses."""

    def __init__(self, hosts: Path = _HOSTS, monitor: Path = _MONITOR) -> None:
        self._hosts, self._monitor = hosts, monitor

    async def __call__(self, address: str) -> str:
        """Return what an address is called; empty where that is not known."""
        wanted = ipaddress.ip_address(address)
        found = next((n for a, n in self._lines() if a == str(wanted) and _NAME.fullmatch(n)), "")
        if found:
            return found
        try:
            async with asyncio.timeout(_PATIENCE):
                cache = await self._cache()
        except (OSError, ValueError, RecursionError, TimeoutError, asyncio.IncompleteReadError):
            return ""  # there is no such resolver, or it says something else
        return next((n for n in _named(cache, list(wanted.packed)) if _NAME.fullmatch(n)), "")

    def _lines(self) -> Iterator[tuple[str, str]]:
        """Yield address and first name of each line."""
        try:
            text = self._hosts.read_text("ascii", "replace")
        except OSError:
            return
        for line in text.splitlines()[:_LINES]:
            words = line.partition("#")[0].split()
            if len(words) > 1:
                yield words[0].lower(), words[1].lower()

    async def _cache(self) -> Any:
        reader, writer = await asyncio.open_unix_connection(self._monitor, limit=_ANSWER)
        try:
            writer.write(_DUMP)
            return json.loads((await reader.readuntil(b"\0"))[:-1])
        except asyncio.LimitOverrunError as error:
            msg = "the cache is too large"
            raise ValueError(msg) from error
        finally:
            writer.close()


def _named(value: Any, address: list[int]) -> Iterator[str]:
    """Yield the names of records of an address, wherever they stand in the resolver's answer."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, list):
            todo += reversed(one)
        elif isinstance(one, dict):
            key = one.get("key")
            if one.get("address") == address and isinstance(key, dict):
                yield str(key.get("name", "")).lower().rstrip(".")
            todo += one.values()
