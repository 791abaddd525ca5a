"""Frozen sets that know what they were made from, and what differs from that."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar, cast

T = TypeVar("T")
S = TypeVar("S")


class Tracked(frozenset[T]):
    """A frozen set. What was put to it or taken from it is known, while the set before lives.

    A large state differs from the one before it by a grant or two, and is asked for the difference
    many times in each change: that costs what differs, and not what there is.
    """

    __slots__ = ("_came", "_origin", "_went")
    _origin: weakref.ref[Tracked[T]] | None
    _came: frozenset[T]
    _went: frozenset[T]

    def __new__(cls, members: Iterable[T] = ()) -> Tracked[T]:
        """Return ``members``; those that are tracked already as they are."""
        if type(members) is cls:
            return members
        made = super().__new__(cls, members)
        made._origin, made._came, made._went = None, frozenset(), frozenset()
        return made

    def __or__(self, more: AbstractSet[S]) -> Tracked[T | S]:
        """Return these and more."""
        others = frozenset(more)
        made = super().__or__(others)
        return cast("Tracked[T | S]", self._next(made, others.difference(self), frozenset()))

    def __sub__(self, others: AbstractSet[object]) -> frozenset[T]:
        """Return these without others."""
        if isinstance(others, Tracked):
            if others._origin is not None and others._origin() is self:
                return cast("frozenset[T]", others._went)
            if self is others:
                return frozenset()
            if self._origin is not None and self._origin() is others:
                return self._came
            return super().__sub__(others)
        went = self.intersection(others)
        return self._next(super().__sub__(went), frozenset(), went)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self),)

    def _next(self, members: Any, came: frozenset[Any], went: frozenset[Any]) -> Tracked[T]:
        made = Tracked[T](members)
        made._origin, made._came, made._went = weakref.ref(self), came, went
        return made
