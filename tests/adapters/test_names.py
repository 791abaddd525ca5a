"""What an address is called: /etc/hosts, and the resolver's cache; the guest has the real one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from appfwd.adapters.names import KnownNames

HOSTS = """# comment
127.0.0.1 localhost guest
192.0.2.7\tproxy.example.net proxy  # ours
192.0.2.8 bad name<b>
192.0.2.9
2001:DB8::7 six.example.net
"""
RECORD = {
    "rr": {"key": {"class": 1, "type": 1, "name": "Www.Example.NET"}, "address": [198, 51, 100, 7]},
    "raw": "",
}
CACHE = {"parameters": {"dump": [{"ifname": "eth0", "cache": [{"key": {}, "rrs": [RECORD]}]}]}}


def known(tmp_path: Path, address: str, answer: bytes | None = None) -> str:
    """Ask, of a file and a resolver that gives this answer; None: there is none."""
    hosts, monitor = tmp_path / "hosts", tmp_path / "monitor"
    hosts.write_text(HOSTS)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\0")
        writer.write(answer or b"")
        await writer.drain()
        writer.close()

    async def story() -> str:
        if answer is None:
            return await KnownNames(hosts, monitor)(address)
        async with await asyncio.start_unix_server(serve, monitor):
            return await KnownNames(hosts, monitor)(address)

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "proxy.example.net"),
        ("2001:db8::7", "six.example.net"),
        ("192.0.2.8", "bad"),
        ("192.0.2.9", ""),
        ("192.0.2.10", ""),
    ],
)
def test_the_first_name_of_its_line(tmp_path: Path, address: str, name: str) -> None:
    assert known(tmp_path, address) == name


def message(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\0"


def test_a_name_that_was_asked_for(tmp_path: Path) -> None:
    assert known(tmp_path, "198.51.100.7", message(CACHE)) == "www.example.net"
    assert known(tmp_path, "198.51.100.8", message(CACHE)) == ""


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0",
        b"no json\0",
        b"[" * 100_000 + b"\0",
        message({"error": "org.varlink.service.MethodNotFound"}),
        message({"key": 5, "address": [198, 51, 100, 7]}),
        message({"key": {"name": "<b>evil</b>"}, "address": [198, 51, 100, 7]}),
        message({"key": {"name": "a" * 300}, "address": [198, 51, 100, 7]}),
        b"x" * (5 << 20) + b"\0",
    ],
    ids=range(9),
)
def test_an_answer_of_another_form_is_none(tmp_path: Path, answer: bytes) -> None:
    assert known(tmp_path, "198.51.100.7", answer) == ""
