"""The chains that mark first packets: by protocol, and few of those that are observed.

While a domain is fenced, the first packet of every flow gets a label of its protocol, which a label
of the baseline, a guard or a grant takes the place of. The kernel's record of a refusal names the
label, not the protocol; so it tells both.

``auditallow`` writes a record for every packet. So only the first packet of a connection gets a
label that has it, only once in five minutes for a user and place (and one in sixteen of the others,
so that a second domain of the same user is seen too), and no more than a rate whatever the load. A
label of the baseline, a guard or a grant comes later, and takes its place.
"""

from __future__ import annotations

from typing import NamedTuple

from appfwd.core.avc import NEW_TYPES, SEEN_TYPES
from appfwd.core.expressions import RETURN, Expr, Rule, ct, jump, label, match, meta, protocol_is
from appfwd.model.addresses import Family
from appfwd.model.destination import Direction

#: Seconds for which a place is not recorded again, and one of how many packets is all the same.
QUIET, AGAIN = 300, 16
#: Records a second at the most, and how many more at once.
RATE, BURST = 50, 500
#: Places remembered: those of QUIET seconds at RATE, and the burst.
SIZE = 16384

#: Chains that label by protocol: what is observed, and every first packet.
MARK, MARK_NEW = "seen_mark", "new_mark"


class SeenSet(NamedTuple):
    """Which set of recorded places: by direction and family. Its text is the set's name."""

    direction: Direction
    family: Family

    def __str__(self) -> str:
        return f"{self.direction.value}_seen{self.family.value}"

    @classmethod
    def parse(cls, text: str) -> SeenSet:
        """Return the set whose name is ``text``.

        Raises:
            ValueError: there is no such set.

        """
        direction, _, kind = text.partition("_")
        found = cls(Direction(direction), Family(int(kind[-1])))
        if str(found) != text:
            raise ValueError(text)
        return found

    def types(self) -> list[str]:
        """Return the types of the parts of a key."""
        address = "ipv4_addr" if self.family is Family.IPV4 else "ipv6_addr"
        user = ["uid"] if self.direction is Direction.OUT else []
        return [*user, address, "inet_proto", "inet_service"]

    def key(self) -> Expr:
        """Return the key of a packet: who sends it, and where; or who from, and our port."""
        ip = "ip" if self.family is Family.IPV4 else "ip6"
        if self.direction is Direction.OUT:
            place = [ct(f"{ip} daddr", "original"), ct("protocol"), ct("proto-dst", "original")]
            return {"concat": [meta("skuid"), *place]}
        peer = ct(f"{ip} saddr", "original")
        return {"concat": [peer, ct("protocol"), ct("proto-src", "reply")]}


def chain_of(direction: Direction) -> str:
    """Return the name of the chain for first packets of a direction."""
    return f"{direction.value}_seen"


def seen_rules(direction: Direction) -> tuple[Rule, ...]:
    """Return the rules that mark some of the first packets."""
    sets = [SeenSet(direction, family) for family in Family]
    return (
        *((_in(one), _NOT_AGAIN, RETURN) for one in sets),
        (_TOO_MANY, RETURN),
        *((_remember(one), jump(MARK)) for one in sets),
    )


def mark_rules(chain: str) -> tuple[Rule, ...]:
    """Return the rules of a chain that gives a first packet the label of its protocol."""
    types = SEEN_TYPES if chain == MARK else NEW_TYPES
    (other,) = (name for name, protocol in types.items() if protocol is None)
    particular = {name: protocol for name, protocol in types.items() if protocol is not None}
    return (
        (label(other),),
        *((protocol_is(number), label(name)) for name, number in particular.items()),
    )


def _in(one: SeenSet) -> Expr:
    return match(one.key(), f"@{one}")


def _remember(one: SeenSet) -> Expr:
    return {"set": {"op": "add", "elem": one.key(), "set": f"@{one}"}}


_NOT_AGAIN = match({"numgen": {"mode": "random", "mod": AGAIN, "offset": 0}}, 0, "!=")
_TOO_MANY: Expr = {"limit": {"rate": RATE, "burst": BURST, "per": "second", "inv": True}}
