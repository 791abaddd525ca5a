"""Ranges of IP addresses, as integers, with their text form."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import IntEnum


class Family(IntEnum):
    """The address family; the value is the IP version."""

    IPV4 = 4
    IPV6 = 6

    @property
    def bits(self) -> int:
        """Length of an address in bits."""
        return 32 if self is Family.IPV4 else 128

    @property
    def last(self) -> int:
        """The greatest address, as an integer."""
        return (1 << self.bits) - 1


def address_text(family: Family, value: int) -> str:
    """Return ``value`` in the usual text form of its family."""
    if family is Family.IPV4:
        return str(ipaddress.IPv4Address(value))
    return str(ipaddress.IPv6Address(value))


@dataclass(frozen=True, order=True)
class AddressRange:
    """All addresses of one family from ``first`` to ``last``, both included."""

    family: Family
    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last <= self.family.last:
            msg = "address range out of order or out of its family"
            raise ValueError(msg)

    @classmethod
    def whole(cls, family: Family) -> AddressRange:
        """Return the range of every address of ``family``."""
        return cls(family, 0, family.last)

    @property
    def prefix_length(self) -> int | None:
        """Length of the prefix that is exactly this range, or None where there is none."""
        size = self.last - self.first + 1
        if size & (size - 1) or self.first & (size - 1):
            return None
        return self.family.bits - (size.bit_length() - 1)

    def contains(self, other: AddressRange) -> bool:
        """Tell whether ``other`` lies wholly within this range."""
        return self.family is other.family and self.first <= other.first and other.last <= self.last

    def overlaps(self, other: AddressRange) -> bool:
        """Tell whether the two share an address."""
        return self.family is other.family and self.first <= other.last and other.first <= self.last

    def __str__(self) -> str:
        first, length = address_text(self.family, self.first), self.prefix_length
        if length == self.family.bits:
            return first
        if length is not None:
            return f"{first}/{length}"
        return f"{first}-{address_text(self.family, self.last)}"
