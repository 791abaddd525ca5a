"""Sets that are never changed, which know what differs from the one that they were made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar

from appfwd.model.patched import Patched

T = TypeVar("T")
S = TypeVar("S")


def is_near(one: AbstractSet[Any], other: AbstractSet[Any], at_most: int) -> bool:
    """Tell whether two differ in few members, and it takes no look at all of them to know."""
    if not (isinstance(one, Tracked) and isinstance(other, Tracked)):
        return False
    near = one.members.beside(other.members)
    return near is not None and len(near) <= at_most


class Tracked(AbstractSet[T]):
    """A set; it shares its members with others, and is compared with them, as Patched are.

    A large state differs from the one before it by a grant or two, and is asked for the difference
    many times in each change: that costs what differs, and not what there is.
    """

    __slots__ = ("members",)
    members: Patched[T, bool]

    def __new__(cls, members: Iterable[T] = ()) -> Tracked[T]:
        """Return ``members``; those that are tracked already as they are."""
        return (
            members if isinstance(members, cls) else cls._of(Patched(dict.fromkeys(members, True)))
        )

    @classmethod
    def _of(cls, members: Patched[Any, bool]) -> Tracked[Any]:
        made = super().__new__(cls)
        made.members = members
        return made

    def __contains__(self, member: object) -> bool:
        return member in self.members

    def __iter__(self) -> Iterator[T]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __or__(self, more: AbstractSet[S]) -> Tracked[T | S]:
        """Return these and more."""
        new: dict[Any, bool] = {member: True for member in more if member not in self}
        members: Patched[Any, bool] = self.members
        return self._of(members.changed(new)) if new else self._of(members)

    def __sub__(self, others: AbstractSet[Any]) -> AbstractSet[T]:
        """Return these without others."""
        if isinstance(others, Tracked):
            near = self.members.beside(others.members)
            if near is None:
                return frozenset(self.members.whole()).difference(others.members.whole())
            return frozenset(one for one in near if one in self and one not in others)
        gone = dict.fromkeys(member for member in others if member in self)
        return self._of(self.members.changed(gone)) if gone else self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Tracked):
            return self.members == other.members
        return frozenset(self.members.whole()) == other

    def __hash__(self) -> int:
        return hash(frozenset(self.members.whole()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self),)

    @classmethod
    def _from_iterable(cls, members: Iterable[S]) -> frozenset[S]:
        return frozenset(members)
