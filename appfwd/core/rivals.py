"""Other tables that label packets after ours, and so undo its labels: the last writer wins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appfwd.core.chains import MANGLE, PAST_DNAT
from appfwd.core.keeping import BITS
from appfwd.core.table import FAMILY, TABLE

Json = Mapping[str, Any]

#: SELinux's check of what is sent (NF_IP_PRI_SELINUX_LAST, linux/netfilter_ipv4.h): what labels
#: past it changes nothing on this machine.
_SELINUX_LAST = 225


@dataclass(frozen=True, order=True)
class Rival:
    """A chain of another table with a rule that sets the label of packets."""

    family: str
    table: str
    chain: str

    def __str__(self) -> str:
        return f"chain {self.chain} of the nftables table {self.family} {self.table}"


def rivals(ruleset: Sequence[Json]) -> tuple[Rival, ...]:
    """Return the chains of a whole ruleset's listing that can undo our labels.

    A chain that hangs on no hook counts, since any other may jump to it.
    """
    priorities: dict[Rival, tuple[str, int] | None] = {}
    for entry in ruleset:
        chain = entry.get("chain")
        if chain is not None:
            at = (chain["hook"], chain["prio"]) if "hook" in chain else None
            priorities[Rival(chain["family"], chain["table"], chain["name"])] = at
    found = set(_labelling(ruleset))
    return tuple(sorted(rival for rival in found if _after_ours(priorities.get(rival))))


def _labelling(ruleset: Sequence[Json]) -> Iterator[Rival]:
    for entry in ruleset:
        rule = entry.get("rule")
        if rule is None or (rule["family"], rule["table"]) == (FAMILY, TABLE):
            continue
        if any(_sets_label(expr) for expr in rule.get("expr", ())):
            yield Rival(rule["family"], rule["table"], rule["chain"])


def _sets_label(expr: Json) -> bool:
    """Tell whether a statement sets a packet's label, or what we keep with connections."""
    if "secmark" in expr:
        return True
    if "xt" in expr:
        return expr["xt"].get("name") in ("SECMARK", "CONNSECMARK")
    mangle = expr.get("mangle")
    if mangle is None:
        return False
    key = mangle["key"]
    if key.get("meta", {}).get("key") == "secmark":
        return True
    kept = key.get("ct", {}).get("key")
    return kept == "secmark" or (kept == "label" and mangle.get("value") in BITS)


def _after_ours(hook: tuple[str, int] | None) -> bool:
    if hook is None:
        return True
    where, priority = hook
    if where == "postrouting":
        return priority <= _SELINUX_LAST
    ours = {"output": PAST_DNAT, "input": MANGLE}
    return where in ours and priority >= ours[where]
