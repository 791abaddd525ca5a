"""How a flow keeps its label, so that most packets need no lookup, and a revoke holds at once.

What a lookup finds is a function of the conntrack entry, of the way that the packet goes, and of
the present maps. While the maps stay, it is found once and kept in the entry: `ct secmark` holds
one *word*, the label's number (its SID) in the lower bits, and above it the number of the *epoch*
in which it was found, and by which of the two lookups (for what we opened, or for what a peer did).
A word of another epoch, or of the other lookup, is as good as none.

Whatever changes the table ends the epoch in its own transaction: the chains :data:`KEPT`, which are
all that read or write words, do neither after it. The next epoch begins with a transaction of its
own, once the table has come to rest, and has a number that none before it had since the machine was
booted. So a label that was found in other maps is in a word of another number, whoever wrote it and
when: a packet that is still on its way under the old rules, on another processor, may write its
word over a newer one, and that costs a lookup, no more. A word is read once for each packet, into
the packet itself, so what is compared and what is used are the same.

The top bit is no part of the word: it tells for good that the direction is sure (chains.py). All
who write a word write it as they found it, however late they come; it is there from the first
packet, before which nobody finds the entry. (Where an entry began otherwise and a SYN comes later,
as one that crosses our answer may, the bit can be lost again: the flow is then not sure.)

Numbers come from the time since the machine was booted: entries live as long as it is up, and
nothing else survives a daemon's kill, a table's end and a lost state folder. The first
:data:`OF_BANK` of them are in the word alone. After those come as many for each of :data:`BITS`,
bits of the conntrack label: entries can win such bits and never lose them, so a word counts only
with the bit of its number (which costs each packet more than the rest of its number does).

Only established flows are kept: what is new may get other labels (appfwd.core.seen), and an ICMP
error is looked up by its own protocol in part. And what begins with our own SYN, where no first
packet gets another label: whatever a lookup goes by is settled then, and nobody else finds the
entry before that packet is through. It is looked up by its own headers, so it has to come without a
label: what comes again with other headers, as by IPVS, has one. An entry that a helper foresaw
begins with its parent's `ct secmark`, and a bridge that tracks may confirm it where no chain of
ours sees it, so it is left out. Only packets that come to our chain unlabelled, unless the baseline
is complete, so that each lookup finds something: what goes into a tunnel may have the label of what
is within, and what came over veth a stranger's. Words are written by what we send alone. A flow
over the loopback interface is sent both ways here, each with its own lookup, so one word would not
do: such flows are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from appfwd.core.expressions import (
    ACCEPT,
    ESTABLISHED,
    IS_SURE,
    NOT_FORESEEN,
    RETURN,
    SURE,
    Expr,
    Rule,
    ct,
    direction_is,
    goto,
    jump,
    masked,
    match,
    meta,
    put,
)

#: The base chains, and where they go on to: the lookups.
OUTPUT, INPUT, OUTPUT_LOOKUP, INPUT_LOOKUP = "output", "input", "output_lookup", "input_lookup"
#: Chains that say otherwise while an epoch lasts. A packet of an established flow takes its label
#: from the flow: in the base chains themselves, since a jump costs each packet a seventh of what
#: all of this costs; or in the chains of its hook, if it comes to them without a label. What we
#: send then looks it up and keeps it, in the last for what begins with a SYN of ours.
OUTPUT_KEPT, INPUT_KEPT, OUTPUT_NEW = "output_kept", "input_kept", "output_new"
KEPT = (OUTPUT, INPUT, OUTPUT_KEPT, INPUT_KEPT, OUTPUT_NEW)

_LABEL_BITS = 13
_INWARD = 1 << _LABEL_BITS
_EPOCH = _LABEL_BITS + 1
_REST = 0xFFFFFFFF & -_INWARD
#: Numbers of one bank; 0 is none, so that what others put in ct secmark is no word.
OF_BANK = SURE // (1 << _EPOCH) - 1
#: Bits of the conntrack label, near the top; others use the low ones.
BITS = range(126, 62, -1)
LAST = (1 + len(BITS)) * OF_BANK

#: (how many numbers, seconds that each one lasts). The first bank is made to last 105 days, since
#: the bits of the others cost every packet, and a number that lasts long costs only lookups for so
#: long, and only where two changes come within it. Past two years and a half there is none.
_TIERS = (
    *((1 << 15, 1), (1 << 15, 4), (1 << 15, 32), (OF_BANK - 3 * (1 << 15), 240)),
    *((1 << 22, 1), (LAST - OF_BANK - (1 << 22), 16)),
)


def number_at(uptime: float) -> int:
    """Return the number of an epoch that begins so many seconds after boot; 0: no more are left.

    It never falls as time goes on. Whoever begins one holds that it has risen since the last.
    """
    number, left = 1, max(0, int(uptime))
    for count, seconds in _TIERS:
        if left < count * seconds:
            return number + left // seconds
        number, left = number + count, left - count * seconds
    return 0


def kept_rules(number: int, *, complete: bool) -> Mapping[str, tuple[Rule, ...]]:
    """Return the rules of the chains :data:`KEPT` in an epoch, or between two (0).

    ``complete``: whether every lookup finds something, so that it matters to none what came.
    """
    rest: dict[str, tuple[Rule, ...]] = {
        OUTPUT: ((goto(OUTPUT_LOOKUP),),),
        INPUT: ((goto(INPUT_LOOKUP),),),
    }
    if not number:
        return {**rest, **dict.fromkeys((OUTPUT_KEPT, INPUT_KEPT, OUTPUT_NEW), ())}
    words = _Words.of(number)
    sent, received = words.sent(), words.received()
    if complete:
        rest[OUTPUT] = (*((ESTABLISHED, *rule) for rule in sent), *rest[OUTPUT])
        rest[INPUT] = (*((ESTABLISHED, *rule) for rule in received), *rest[INPUT])
        sent = received = ()
    return {
        **rest,
        OUTPUT_KEPT: (*sent, _NOT_TAKEN, *words.kept()),
        INPUT_KEPT: (*received, _NOT_TAKEN),
        OUTPUT_NEW: words.new(),
    }


class _Words(NamedTuple):
    """The words of an epoch, without labels, and the bit of its bank."""

    outward: int
    inward: int
    bit: int | None

    @classmethod
    def of(cls, number: int) -> _Words:
        bank, epoch = divmod(number - 1, OF_BANK)
        outward = epoch + 1 << _EPOCH
        return cls(outward, outward | _INWARD, BITS[bank - 1] if bank else None)

    def sent(self) -> tuple[Rule, ...]:
        """Label what we send by its flow's word."""
        return self._taken(_ORIGINAL, self.outward), self._taken(_REPLY, self.inward)

    def received(self) -> tuple[Rule, ...]:
        """Label what comes by its flow's word."""
        return self._taken(_REPLY, self.outward), self._taken(_ORIGINAL, self.inward)

    def kept(self) -> tuple[Rule, ...]:
        """Look a packet that we send up, and keep what was found."""
        return (
            (_ORIGINAL, jump("out_flow")),
            (_REPLY, jump("in_flow")),
            *((what, ACCEPT) for what in (_FORESEEN, _LOOPBACK, _HIGH)),
            self._keep(self.outward | SURE, _ORIGINAL, IS_SURE),
            self._keep(self.inward | SURE, _REPLY, IS_SURE),
            self._keep(self.outward, _ORIGINAL),
            self._keep(self.inward, _REPLY),
        )

    def new(self) -> tuple[Rule, ...]:
        """Do so with a SYN, by its headers. What returns is made sure, and looked up as ever."""
        return (
            (_FORESEEN_OR_DNAT, RETURN),
            (_LOOPBACK, RETURN),
            (jump("out_syn"),),
            (_HIGH, RETURN),
            self._keep(self.outward | SURE),
        )

    def _taken(self, way: Expr, word: int) -> Rule:
        """Label by a word of this epoch, lookup and way; what is left of another is no label."""
        # A parent's word goes with its bit, which a child has not.
        own = NOT_FORESEEN if self.bit is None else match(ct("label"), self.bit, "in")
        left = put(_SECMARK, {"^": [masked(ct("secmark"), SURE - 1), word]})
        return (way, own, left, match(masked(_SECMARK, _REST), 0), ACCEPT)

    def _keep(self, word: int, *when: Expr) -> Rule:
        # The bit last: where it is seen, so is a word.
        bits = () if self.bit is None else (put(ct("label"), self.bit),)
        return (*when, put(ct("secmark"), {"|": [_SECMARK, word]}), *bits, ACCEPT)


def number_of(rules: Mapping[str, Iterable[Rule]], *, complete: bool) -> int:
    """Return the number of the epoch that the chains :data:`KEPT` have; 0 between two.

    Raises:
        ValueError: they are not as they are made here.

    """
    had = {name: tuple(rules.get(name, ())) for name in KEPT}
    number = _told_by(had[OUTPUT_KEPT]) if had[OUTPUT_KEPT] else 0
    if number < 0 or had != kept_rules(number, complete=complete):
        raise ValueError(OUTPUT_KEPT)
    return number


def _told_by(kept: tuple[Rule, ...]) -> int:
    """Return the number of the epoch that the words in :data:`OUTPUT_KEPT` are of."""
    try:
        _, word, *bit, _ = kept[-2]  # of the original direction, not sure
        bank = 1 + BITS.index(bit[0]["mangle"]["value"]) if bit else 0
        return bank * OF_BANK + (int(word["mangle"]["value"]["|"][-1]) >> _EPOCH)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(OUTPUT_KEPT) from error


_SECMARK = meta("secmark")
_ORIGINAL, _REPLY = direction_is("original"), direction_is("reply")
#: What keeps no label. A helper's child is related, but one that clashed in a queue may be new with
#: the entry of another (__nf_conntrack_update, nf_conntrack_core.c). What is sent both ways here. A
#: number that does not fit.
_FORESEEN = match(ct("status"), "expected", "in")
_FORESEEN_OR_DNAT = match(ct("status"), ["expected", "dnat"], "in")
_LOOPBACK, _HIGH = match(meta("oif"), "lo"), match(masked(_SECMARK, _REST), 0, "!=")
_NOT_TAKEN: Rule = (put(_SECMARK, masked(_SECMARK, 0)),)
