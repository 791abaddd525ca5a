"""Many destinations, asked about one place: hosts are found by their address."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain

from appfwd.model.addresses import AddressRange
from appfwd.model.destination import Destination


class Places:
    """A set of destinations that answers quickly for a place of one host."""

    def __init__(self, destinations: Iterable[Destination]) -> None:
        self._of_host: dict[AddressRange, list[Destination]] = defaultdict(list)
        self._wide: list[Destination] = []
        for one in destinations:
            self._among(one).append(one)

    def hold(self, place: Destination) -> bool:
        """Tell whether one of them holds the whole place."""
        return any(one.contains(place) for one in self._near(place))

    def meet(self, place: Destination) -> bool:
        """Tell whether one of them shares a point with the place."""
        return any(True for _ in self.meeting(place))

    def meeting(self, place: Destination) -> Iterator[Destination]:
        """Yield those that share a point with a place; quickly for a place of one host."""
        return (one for one in self._near(place) if one.overlaps(place))

    def _among(self, one: Destination) -> list[Destination]:
        peer = one.peer
        return self._wide if peer is None or peer.first != peer.last else self._of_host[peer]

    def _near(self, place: Destination) -> Iterator[Destination]:
        if place.peer is None or place.peer.first != place.peer.last:
            yield from chain.from_iterable(self._of_host.values())
        else:
            yield from self._of_host.get(place.peer, ())
        yield from self._wide


def by_domain(held: Iterable[tuple[str, Destination]]) -> dict[str, Places]:
    """Return the places of each domain."""
    found: dict[str, list[Destination]] = defaultdict(list)
    for domain, destination in held:
        found[domain].append(destination)
    return {domain: Places(destinations) for domain, destinations in found.items()}
