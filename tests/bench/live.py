"""From a revoke's call to the last packet that a live flow got through; see inside/live.py.

One processor is shared by the sender, the receiver and the daemon, so this is a busy machine.
"""

from collections.abc import Sequence
from typing import Any

from tests.guest.firewall import Firewall, installed_snapshot
from tests.guest.lab.probe import context_of
from tests.guest.lab.store import base_snapshot, restore
from tests.guest.place import HOST, PORT

from .guests import ask
from .samples import milliseconds

DOMAIN, SECONDS = "mozilla_t", 600.0

Rounds = Sequence[Sequence[float]]


def measure() -> Rounds:
    """Return the times of call, reply and last datagram of each round, and what passed before."""
    with restore(installed_snapshot(base_snapshot())) as guest:
        Firewall(guest).guard(f"{HOST}:{PORT}/udp")
        words = (HOST, "peer", PORT, DOMAIN, context_of(DOMAIN))
        found: Rounds = ask(guest, "live", *words, seconds=SECONDS)
        return found


def figures(rounds: Rounds) -> dict[str, Any]:
    """Return milliseconds since the call; and how long before the reply the last one was."""
    last = milliseconds([last - call for call, _, last, _ in rounds])
    return {
        "revoke_to_last_packet_ms": last["p50"],
        "revoke_live": {
            "last_ms": last,
            "reply_ms": milliseconds([reply - call for call, reply, _, _ in rounds]),
            "last_after_reply_ms": 1e3 * max(last - reply for _, reply, last, _ in rounds),
            "least_passed": min(passed for *_, passed in rounds),
        },
    }


def report(values: dict[str, Any]) -> None:
    """Print them."""
    live = values["revoke_live"]
    last, reply = live["last_ms"], live["reply_ms"]
    print(f"revoke to the last packet let through: {last['p50']:.0f} ms ({last['max']:.0f})")
    print(f"revoke to its reply: {reply['p50']:.0f} ms ({reply['max']:.0f})")
    after = live["last_after_reply_ms"]
    print(f"the last packet is {last['p50'] / reply['p50']:.2f} of the way to the reply, and never")
    print(f"  later than {after:+.1f} ms after it; {live['least_passed']:.0f} and more came before")
