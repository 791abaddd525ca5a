"""How a flow keeps its label, so that most packets need no lookup, and a revoke holds at once.

What a lookup finds is a function of the conntrack entry, of the way that the packet goes, and of
the present maps. While the maps stay, it is found once and kept in the entry: `ct secmark` holds
one *word*, the label's number (its SID) in the lower half, and in the upper one the number of the
*epoch* in which it was found, and by which of the two lookups (for what we opened, or for what a
peer did). A word of another epoch, or of the other lookup, is as good as none.

Whatever changes the table ends the epoch in its own transaction: the chains :data:`KEPT`, which are
all that read or write words, are empty after it. The next epoch begins with a transaction of its
own, once the table has come to rest, and has a number that none before it had since the machine was
booted. So a label that was found in other maps is in a word of another number, whoever wrote it and
when: a packet that is still on its way under the old rules, on another processor, may write its
word over a newer one, and that costs a lookup, no more. A word is read once for each packet, into
the packet itself, so what is compared and what is used are the same.

Numbers come from the time since the machine was booted: entries live as long as it is up, and
nothing else survives a daemon's kill, a table's end and a lost state folder. There are as many as
the upper half has room for, times :data:`BANKS` bits of the conntrack label. Entries can win such
bits and never lose them, so a word counts only with the bit of its number. An entry that a helper
foresaw begins with its parent's `ct secmark` but with no bit, and is left out.

Only established flows are kept: what is new gets other labels (appfwd.core.seen), and an ICMP error
is looked up by its own protocol in part. Only packets that come to our chain unlabelled: what goes
into a tunnel may have the label of what is within, and what came over veth a stranger's. Words are
written by what we send alone. A flow over the loopback interface is sent both ways here, each with
its own lookup, so one word would not do: such flows are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from appfwd.core.expressions import (
    ACCEPT,
    RETURN,
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

#: Chains that take a packet's label from its flow: found for what we opened, and for what peers
#: did. And the chain that keeps it. They have rules while an epoch lasts, and none between two.
KEPT = OUT_KEPT, IN_KEPT, KEEP = "out_kept", "in_kept", "keep"
#: Chains of established flows, by hook.
OUTPUT_KEPT, INPUT_KEPT = "output_kept", "input_kept"

_LABEL, _REST = 0xFFFF, 0xFFFF0000
_INWARD = 1 << 16
_EPOCH = 17
#: Epochs of one bank; 0 is none, so that what others put in ct secmark is no word.
_OF_BANK = (1 << 32 - _EPOCH) - 1
#: Bits of the conntrack label, just below the one of a sure direction; others use the low ones.
BANKS = range(126, 62, -1)

#: (how many numbers, seconds that each one lasts): some days, two months, two years. Whoever is up
#: longer goes without.
_TIERS = ((1 << 19, 1), (1 << 19, 8), (len(BANKS) * _OF_BANK - (1 << 20), 64))


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
    bank, epoch = divmod(number - 1, _OF_BANK)
    bit = BANKS[bank]
    outward = epoch + 1 << _EPOCH
    inward = outward | _INWARD
    return {
        OUT_KEPT: _taken(bit, outward),
        IN_KEPT: _taken(bit, inward),
        KEEP: (
            (match(meta("oif"), "lo"), RETURN),
            (match(ct("status"), "expected", "in"), RETURN),
            (match(masked(_SECMARK, _REST), 0, "!="), RETURN),
            (direction_is("original"), *_keep(bit, outward)),
            (direction_is("reply"), *_keep(bit, inward)),
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
        bit = had[KEEP][-1][-1]["mangle"]["value"]
        word = had[KEEP][-2][-2]["mangle"]["value"]["|"][-1]
        number = BANKS.index(bit) * _OF_BANK + (int(word) >> _EPOCH)
    except (LookupError, TypeError) as error:
        raise ValueError(KEEP) from error
    if number < 1 or had != kept_rules(number):
        raise ValueError(KEEP)
    return number


def entry_rule(hook: str) -> Rule:
    """Return the first rule of a base chain: established packets take another way."""
    if hook == "output":
        return (_ESTABLISHED, _UNLABELLED, goto(OUTPUT_KEPT))
    return (_ESTABLISHED, _UNLABELLED, jump(INPUT_KEPT))


def chains_of_the_established(out_flow: str, in_flow: str) -> Mapping[str, tuple[Rule, ...]]:
    """Return the chains that the first rules lead to, and those that they lead to (empty)."""
    original, reply = direction_is("original"), direction_is("reply")
    return {
        **kept_rules(0),
        OUTPUT_KEPT: (
            (original, jump(OUT_KEPT)),
            (reply, jump(IN_KEPT)),
            (original, jump(out_flow)),
            (reply, jump(in_flow)),
            (goto(KEEP),),
        ),
        INPUT_KEPT: ((original, jump(IN_KEPT)), (reply, jump(OUT_KEPT))),
    }


def _taken(bit: int, word: int) -> tuple[Rule, ...]:
    return (
        (match(ct("label"), bit, "in"), put(_SECMARK, ct("secmark"))),
        (
            match(masked(_SECMARK, _REST), word),
            put(_SECMARK, masked(_SECMARK, _LABEL)),
            ACCEPT,
        ),
        (put(_SECMARK, masked(_SECMARK, 0)),),
    )


def _keep(bit: int, word: int) -> Rule:
    # The bit last: where it is seen, so is a word.
    return (put(ct("secmark"), {"|": [_SECMARK, word]}), put(ct("label"), bit))


_SECMARK = meta("secmark")
_ESTABLISHED = match(ct("state"), "established", "in")
#: The uppermost bit is left out, which no label's number has: libnftables lists a whole mask as
#: none, and takes no such match.
_UNLABELLED: Expr = match(masked(_SECMARK, 0x7FFFFFFF), 0)
