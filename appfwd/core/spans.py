"""Which addresses the map of cells is worth looking up for.

A lookup in a map of intervals by several fields (pipapo) saves and restores vector registers, and
costs a packet more than all other lookups together. Most networks that are guarded are few, and
most places are in none of them. So where a map's cells lie in a few ranges, a match of those comes
first. It is made from the very elements of the map, in whose transaction it changes.
"""

from __future__ import annotations

from collections.abc import Iterable

from appfwd.model.addresses import AddressRange

#: Ranges at the most: more cost a change of them too much, and are worth less.
AT_MOST = 64


def spans_of(peers: Iterable[AddressRange]) -> tuple[AddressRange, ...]:
    """Return the ranges, in order and apart, in which addresses of one family lie.

    None at all where they are too many, or where everything is in them: then a match is of no use.
    """
    joined: list[AddressRange] = []
    for peer in sorted(set(peers)):
        if joined and peer.first <= joined[-1].last + 1:
            last = max(joined[-1].last, peer.last)
            joined[-1] = AddressRange(peer.family, joined[-1].first, last)
        else:
            joined.append(peer)
    whole = any(one == AddressRange.whole(one.family) for one in joined)
    return () if whole or len(joined) > AT_MOST else tuple(joined)
