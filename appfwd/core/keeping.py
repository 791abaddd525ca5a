"""How a flow keeps its label, so that most packets need no lookup, and a revoke holds at once.

What a lookup finds is a function of the conntrack entry, of the way that the packet goes, and of
the present maps. While the maps stay, it is found once and kept in the entry: `ct secmark` holds
one *word*, the label's number (its SID) in the lower bits, and above it the number of the *epoch*
in which it was found, and by which of the two lookups (for what we opened, or for what a peer did).
A word of another epoch, or of the other lookup, is as good as none.

Whatever changes the table ends the epoch in its own transaction: the chains :data:`KEPT`, which are
all that read or write words, are empty after it. The next epoch begins with a transaction of its
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
entry before that packet is through. An entry that a helper foresaw begins with its parent's
`ct secmark`, and is left out. Only packets that come to our chain unlabelled, unless the baseline
is complete, so that each lookup finds something: what goes into a tunnel may have the label of what
is within, and what came over veth a stranger's. Words are written by what we send alone. A flow
over the loopback interface is sent both ways here, each with its own lookup, so one word would not
do: such flows are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from appfwd.core.expressions import (
    ACCEPT,
    IS_SURE,
    NOT_EXPECTED,
    RETURN,
    SURE,
    UNLABELLED,
    Expr,
    Rule,
    ct,
    direction_is,
    jump,
    masked,
    match,
    meta,
    put,
)

#: Chains of established flows, by hook. They take a packet's label from its flow, and that of what
#: we send looks it up and keeps it. They have rules while an epoch lasts, and none between two.
#: The third does so for what begins with a SYN of ours.
KEPT = OUTPUT_KEPT, INPUT_KEPT, OUTPUT_NEW = "output_kept", "input_kept", "output_new"

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


def kept_rules(number: int) -> Mapping[str, tuple[Rule, ...]]:
    """Return the rules of the chains :data:`KEPT` in an epoch; none for 0."""
    if not number:
        return dict.fromkeys(KEPT, ())
    bank, epoch = divmod(number - 1, OF_BANK)
    bit = BITS[bank - 1] if bank else None
    outward = epoch + 1 << _EPOCH
    inward = outward | _INWARD
    return {
        OUTPUT_KEPT: (
            _taken(_ORIGINAL, outward, bit),
            _taken(_REPLY, inward, bit),
            _NOT_TAKEN,
            (_ORIGINAL, jump("out_flow")),
            (_REPLY, jump("in_flow")),
            *_NOT_KEPT,
            _keep(outward | SURE, bit, _ORIGINAL, IS_SURE),
            _keep(inward | SURE, bit, _REPLY, IS_SURE),
            _keep(outward, bit, _ORIGINAL),
            _keep(inward, bit, _REPLY),
        ),
        # What returns is made sure and looked up as ever; what is kept has that bit in its word.
        OUTPUT_NEW: (
            (_FORESEEN, RETURN),
            (_LOOPBACK, RETURN),
            (jump("out_sure"),),
            (_HIGH, RETURN),
            _keep(outward | SURE, bit),
        ),
        INPUT_KEPT: (
            _taken(_REPLY, outward, bit),
            _taken(_ORIGINAL, inward, bit),
            _NOT_TAKEN,
        ),
    }


def number_of(rules: Mapping[str, Iterable[Rule]]) -> int:
    """Return the number of the epoch that the chains :data:`KEPT` have; 0 where they are empty.

    Raises:
        ValueError: they are not as they are made here.

    """
    had = {name: tuple(rules.get(name, ())) for name in KEPT}
    if not any(had.values()):
        return 0
    try:
        _, word, *bit, _ = had[OUTPUT_KEPT][-2]  # of the original direction, not sure
        bank = 1 + BITS.index(bit[0]["mangle"]["value"]) if bit else 0
        number = bank * OF_BANK + (int(word["mangle"]["value"]["|"][-1]) >> _EPOCH)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(OUTPUT_KEPT) from error
    if number < 1 or had != kept_rules(number):
        raise ValueError(OUTPUT_KEPT)
    return number


def entry_rule(kept: str, *, complete: bool) -> Rule:
    """Return the first rule of a base chain: established packets take another way.

    They come back where the flow keeps no label that holds: what we send only between two epochs.
    ``complete``: whether every lookup finds something, so that it matters to none what came.
    """
    return (match(ct("state"), "established"), *came(complete=complete), jump(kept))


def came(*, complete: bool) -> Rule:
    """Return what a packet has to come with, so that its flow may keep its label."""
    return () if complete else (UNLABELLED,)


def _taken(way: Expr, word: int, bit: int | None) -> Rule:
    """Label with the word of this epoch, lookup and way; what is left of another is no label."""
    # A parent's word goes with its bit, which a child has not.
    own = NOT_EXPECTED if bit is None else match(ct("label"), bit, "in")
    left = put(_SECMARK, {"^": [masked(ct("secmark"), SURE - 1), word]})
    return (way, own, left, match(masked(_SECMARK, _REST), 0), ACCEPT)


def _keep(word: int, bit: int | None, *when: Expr) -> Rule:
    # The bit last: where it is seen, so is a word.
    bits = () if bit is None else (put(ct("label"), bit),)
    return (*when, put(ct("secmark"), {"|": [_SECMARK, word]}), *bits, ACCEPT)


_SECMARK = meta("secmark")
_ORIGINAL, _REPLY = direction_is("original"), direction_is("reply")
#: What keeps no label. A helper's child is related, but one that clashed in a queue may be new with
#: the entry of another (__nf_conntrack_update, nf_conntrack_core.c).
_FORESEEN = match(ct("status"), "expected", "in")
_LOOPBACK = match(meta("oif"), "lo")
_HIGH = match(masked(_SECMARK, _REST), 0, "!=")
_NOT_KEPT: tuple[Rule, ...] = ((_FORESEEN, ACCEPT), (_LOOPBACK, ACCEPT), (_HIGH, ACCEPT))
_NOT_TAKEN: Rule = (put(_SECMARK, masked(_SECMARK, 0)),)
