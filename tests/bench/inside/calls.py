"""Changes over one connection to the daemon, each from call to reply; and by many at once.

Prints the seconds of each kind to the reply, and to when it was in force; and the changes a second
by the number of callers.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Protocol

from appfwd.bus.client import Client

from .commits import Commits

Took = dict[str, list[float]]


class Clock(Protocol):
    """Whoever knows when changes came into force."""

    def last(self, begun: float, end: float) -> float: ...


#: Rounds before those that count: they load whatever is loaded once.
WARM_UP = 3


async def rounds(client: Client, domain: str, count: int, commits: Clock) -> tuple[Took, Took]:
    """Guard, grant, revoke and unguard places, and read the properties, one after the other."""
    took: Took = {}
    in_force: Took = {}
    for number in range(WARM_UP + count):
        place = f"10.255.{number >> 8}.{number & 255}:443/tcp"
        for kind in ("Guard", "Grant", "Revoke", "Unguard"):
            words = [domain, place] if kind in ("Grant", "Revoke") else [place]
            begun = time.monotonic()
            await client.call(kind, *words, {})
            replied = time.monotonic()
            committed = commits.last(begun, replied)
            if number >= WARM_UP:
                took.setdefault(kind.lower(), []).append(replied - begun)
                in_force.setdefault(kind.lower(), []).append(committed - begun)
        begun = time.monotonic()
        await client.properties()
        took.setdefault("read", []).append(time.monotonic() - begun)
    return took, in_force


async def pairs(
    granter: Client, revoker: Client, domain: str, places: Sequence[str], commits: Clock
) -> tuple[Took, Took]:
    """Have a user grant places and another revoke them, of whom neither is root."""
    took: Took = {"user_grant": [], "user_revoke": []}
    in_force: Took = {kind: [] for kind in took}
    for place in places:
        for kind, client in zip(took, (granter, revoker), strict=True):
            begun = time.monotonic()
            await client.call(kind.removeprefix("user_").capitalize(), domain, place, {})
            replied = time.monotonic()
            took[kind].append(replied - begun)
            in_force[kind].append(commits.last(begun, replied) - begun)
    return took, in_force


async def joined(
    client: Client, pairs: Sequence[Sequence[str]], commits: Clock
) -> tuple[list[float], list[float]]:
    """Grant a place to the second of two domains, which is a new audience, and so takes a slot."""
    took: list[float] = []
    in_force: list[float] = []
    for number, (first, second) in enumerate(pairs):
        place = f"10.252.0.{number}:443/tcp"
        await client.call("Grant", first, place, {})
        begun = time.monotonic()
        await client.call("Grant", second, place, {})
        took.append(time.monotonic() - begun)
        in_force.append(commits.last(begun, begun + took[-1]) - begun)
        for domain in (second, first):
            await client.call("Revoke", domain, place, {})
    return took, in_force


async def rate(client: Client, domain: str, callers: int, each: int) -> float:
    """Return the changes a second when so many grant and revoke at once."""

    async def caller(number: int) -> None:
        for one in range(each):
            await client.call("Grant", domain, f"10.254.{number}.{one}:443/tcp", {})
            await client.call("Revoke", domain, f"10.254.{number}.{one}:443/tcp", {})

    begun = time.monotonic()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return 2 * each * callers / (time.monotonic() - begun)


async def main(
    domain: str, count: int, pairs: Sequence[Sequence[str]], callers: Sequence[int], each: int
) -> None:
    """Measure, and print it."""
    with closing(Commits()) as commits:
        client = await Client.connect()
        await client.properties()
        took, in_force = await rounds(client, domain, count, commits)
        if pairs:
            took["join"], in_force["join"] = await joined(client, pairs, commits)
    rates = {number: await rate(client, domain, number, each) for number in callers}
    print(json.dumps([took, in_force, rates]))


if __name__ == "__main__":
    asyncio.run(main(*json.loads(sys.argv[1])))
