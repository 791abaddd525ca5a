"""Mappings that are never changed, of which one that differs a little shares what the other has."""

from __future__ import annotations

import weakref
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from math import isqrt
from typing import Any, Self, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

#: Entries that a patch may have beside the square root of what it lies on: copying a patch at each
#: change then costs about what copying everything costs, now and then.
_PATCH_AT_LEAST = 64


class Patched(Mapping[K, V]):  # noqa: PLW1641 - as of any mapping, there is no hash
    """A mapping. What differs from the one that it was made of is known, while that one lives.

    A large one differs from the one before by an entry or two: to make it, and to tell what
    differs, costs what differs and not what there is. No value may be None. They can be read by
    several threads. What was changed last comes last.
    """

    __slots__ = ("__weakref__", "_length", "differing", "origin", "parts")

    def __init__(self, entries: Mapping[K, V] | None = None) -> None:
        #: What most entries are in, and what to put in their place; None for one that is gone.
        self.parts: tuple[dict[K, V], Mapping[K, V | None]] = (dict(entries or {}), {})
        self._length = len(self.parts[0])
        self.origin: weakref.ref[Patched[K, V]] | None = None
        self.differing: AbstractSet[K] = frozenset()

    def changed(self, changes: Mapping[K, V | None]) -> Self:
        """Return these with other values, None for a key that shall have none any more."""
        made = type(self)()
        base, patch = self.parts
        more = sum(value is not None for value in changes.values()) - sum(
            key in self for key in changes
        )
        after = dict(patch)
        for key in changes:
            after.pop(key, None)
        after.update(changes)
        made.parts = base, after
        made._length = self._length + more  # noqa: SLF001 - of the same class
        made.origin, made.differing = weakref.ref(self), frozenset(changes)
        if len(made.parts[1]) > _PATCH_AT_LEAST + isqrt(len(base)):
            made.whole()
        return made

    def unlike(self, other: Mapping[K, Any]) -> AbstractSet[K]:
        """Return keys among which are all whose values here and in another differ."""
        near = self.beside(other)
        if near is not None:
            return near
        # Dictionaries keep the hashes of their keys, views of keys ask for them again.
        return frozenset(self.whole()).union(other.whole() if isinstance(other, Patched) else other)

    def beside(self, other: Mapping[K, Any]) -> AbstractSet[K] | None:
        """Return the same where that takes no look at all that there is; None where it does."""
        if not isinstance(other, Patched):
            return None
        if self is other:
            return frozenset()
        if self.origin is not None and self.origin() is other:
            return self.differing
        if other.origin is not None and other.origin() is self:
            return other.differing
        (mine, over), (its, above) = self.parts, other.parts
        return over.keys() | above.keys() if mine is its else None

    def __getitem__(self, key: K) -> V:
        base, patch = self.parts
        if key not in patch:
            return base[key]
        value = patch[key]
        if value is None:
            raise KeyError(key)
        return value

    @overload
    def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V | D, /) -> V | D: ...

    def get(self, key: K, default: V | D | None = None, /) -> V | D | None:
        """Return the value of a key, or ``default``."""
        base, patch = self.parts
        value = patch[key] if key in patch else base.get(key)
        return default if value is None else value

    def __contains__(self, key: object) -> bool:
        base, patch = self.parts
        return patch[key] is not None if key in patch else key in base  # type: ignore[index]

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[K]:
        return iter(self.whole())

    def keys(self) -> KeysView[K]:
        """Return the keys; as for all that there is, the first time costs as much as a copy."""
        return self.whole().keys()

    def values(self) -> ValuesView[V]:
        """Return the values."""
        return self.whole().values()

    def items(self) -> ItemsView[K, V]:
        """Return keys with their values."""
        return self.whole().items()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        if len(self) != len(other):
            return False
        near = self.beside(other)
        if near is not None:
            return all(self.get(key) == other.get(key) for key in near)
        return self.whole() == (other.whole() if isinstance(other, Patched) else other)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self.whole()),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.whole()})"

    def whole(self) -> dict[K, V]:
        """Return all entries as they are kept from now on, for who only reads them."""
        base, patch = self.parts
        if patch:
            whole = dict(base)
            for key in patch:
                whole.pop(key, None)
            whole.update((key, value) for key, value in patch.items() if value is not None)
            self.parts = whole, {}
            return whole
        return base
