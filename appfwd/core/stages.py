"""The states between two: fences begin before all else changes, and end after it.

What the domain of a new fence keeps needs labels before the fence, and a fence that ends needs
them till it is gone; a change of something else may need it the other way about. In a row of
states that differ in fences alone or in other things alone each has its order, and none allows
what neither the first nor the last does: the first ones are the old state with more fences, the
later ones the new state with more fences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from appfwd.core.plan import Fencing
from appfwd.model.fence import Fence
from appfwd.model.state import DesiredState


def stages(
    before: DesiredState | None, after: DesiredState
) -> Iterator[tuple[DesiredState, Fencing]]:
    """Yield the states from ``before`` (None: not known) to ``after``, and how each comes about."""
    if before is None or not (before.settings.active and after.settings.active):
        yield after, Fencing.MIXED
        return
    new, gone = _others(after.fences, before.fences), _others(before.fences, after.fences)
    at = before
    if new:
        at = replace(before, fences=before.fences | new)
        yield at, Fencing.ALONE
    rest = replace(after, fences=after.fences | gone)
    if rest != at or not (new or gone):
        yield rest, Fencing.MIXED
    if gone:
        yield after, Fencing.ALONE


def _others(these: Iterable[Fence], those: Iterable[Fence]) -> frozenset[Fence]:
    """Return the fences of domains that the others have none of."""
    fenced = {fence.domain for fence in those}
    return frozenset(fence for fence in these if fence.domain not in fenced)
