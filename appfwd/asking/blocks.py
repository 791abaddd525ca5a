"""What nobody is to be asked about again, kept in a store and known without asking it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from appfwd.core.places import Places, by_domain
from appfwd.model.block import Block, Blocked
from appfwd.model.observation import Observation
from appfwd.ports import Blocks


class BlockList:
    """All blocks."""

    def __init__(self, store: Blocks) -> None:
        self._store = store
        self._blocked: dict[Block, Blocked] = {}
        self._places: dict[str, Places] = {}

    async def load(self) -> None:
        """Read what is stored.

        Raises:
            StoreFailed: it cannot be read.

        """
        self._take(await self._store.load())

    def hold(self, one: Observation) -> bool:
        """Tell whether a block holds the whole place."""
        places = self._places.get(one.domain)
        return places is not None and places.hold(one.destination)

    def all(self) -> Sequence[Blocked]:
        """Return all blocks, by domain and destination."""
        return sorted(self._blocked.values(), key=lambda one: one.block.sort_key())

    async def add(self, blocked: Blocked) -> None:
        """Keep a block.

        Raises:
            StoreFailed, Busy: it is not kept.

        """
        await self._store.add(blocked)
        self._take({blocked.block: blocked, **self._blocked}.values())

    async def remove(self, block: Block) -> None:
        """Drop a block.

        Raises:
            NotFound: there is none.
            StoreFailed: it is still there.

        """
        await self._store.remove(block)
        self._take(one for one in self._blocked.values() if one.block != block)

    def _take(self, blocked: Iterable[Blocked]) -> None:
        self._blocked = {one.block: one for one in blocked}
        self._places = by_domain((one.domain, one.destination) for one in self._blocked)
