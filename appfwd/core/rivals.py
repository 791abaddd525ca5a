"""Other tables that label packets after ours, and so undo its labels: the last writer wins.

What we keep with connections (appfwd.core.keeping) lasts, so whoever writes there is one anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """A chain of another table with a rule that sets the label of packets, or what we keep."""

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
    labelling = {rival for rival in _having(ruleset, _sets_label) if _after(priorities.get(rival))}
    return tuple(sorted(labelling.union(_having(ruleset, _sets_kept))))


def _having(ruleset: Sequence[Json], what: Callable[[Json], bool]) -> Iterator[Rival]:
    for entry in ruleset:
        rule = entry.get("rule")
        if rule is None or (rule["family"], rule["table"]) == (FAMILY, TABLE):
            continue
        if any(what(expr) for expr in rule.get("expr", ())):
            yield Rival(rule["family"], rule["table"], rule["chain"])


def _sets_label(expr: Json) -> bool:
    """Tell whether a statement sets a packet's label."""
    key = expr.get("mangle", {}).get("key", {})
    return "secmark" in expr or _xt(expr) == "SECMARK" or key.get("meta") == {"key": "secmark"}


def _sets_kept(expr: Json) -> bool:
    """Tell whether a statement sets what we keep with connections."""
    mangle = expr.get("mangle", {})
    kept = mangle.get("key", {}).get("ct", {}).get("key")
    ours = kept == "secmark" or (kept == "label" and mangle.get("value") in BITS)
    return ours or _xt(expr) == "CONNSECMARK"


def _xt(expr: Json) -> str:
    return str(expr.get("xt", {}).get("name"))


def _after(hook: tuple[str, int] | None) -> bool:
    if hook is None:
        return True
    where, priority = hook
    if where == "postrouting":
        return priority <= _SELINUX_LAST
    ours = {"output": PAST_DNAT, "input": MANGLE}
    return where in ours and priority >= ours[where]
