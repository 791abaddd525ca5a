"""The journal's records of what came into the stored state and went from it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from appfwd.manager.rows import entry_row
from appfwd.ports import Kept
from appfwd.turns import in_turns

log = logging.getLogger(__name__)

#: Of journal records that tell of a change (journalctl MESSAGE_ID=...).
CHANGED = "9d1b2f6a6c5f4e0f8a1f7c1f0c8e4b52"
#: Members of one change that have a record of their own. The journal drops what is beyond 10,000
#: records in 30 s (RateLimitBurst of journald.conf(5)), and would drop others' with them.
EACH_AT_MOST = 1000


async def log_changes(what: str, members: Sequence[Kept]) -> None:
    """Write a structured record for each guard, grant and fence; of very many one for all.

    ``what`` is ``added`` or ``removed``.
    """
    if len(members) > EACH_AT_MOST:
        _log_many(what, members)
        return
    async for member, record in in_turns(members):
        row = entry_row(member, record, None)
        fields = ("id", "kind", "domain", "destination", "direction", "uid")
        extra = {f"APPFWD_{name.upper()}": str(row[name]) for name in fields}
        place = f"{row['direction']} {row['destination']}".strip() or "everywhere"
        text = f"{what}: {row['kind']} {record.id}: {row['domain'] or 'all'}, {place}"
        log.info(text, extra={"MESSAGE_ID": CHANGED, "APPFWD_CHANGE": what, **extra})


def _log_many(what: str, members: Sequence[Kept]) -> None:
    kinds = Counter(type(member).__name__.lower() for member, _ in members)
    users = ", ".join(str(uid) for uid in sorted({record.uid for _, record in members}))
    counts = ", ".join(f"{count} {kind}s" for kind, count in sorted(kinds.items()))
    extra = {"APPFWD_COUNT": str(len(members)), "APPFWD_UID": users}
    text = f"{what} at once: {counts}, by uid {users}"
    log.info(text, extra={"MESSAGE_ID": CHANGED, "APPFWD_CHANGE": what, **extra})
