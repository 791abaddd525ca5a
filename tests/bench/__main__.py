"""What a change costs from call to reply, beside the same done by hand as the recipe has it.

And what it costs with many grants held, what a packet costs, how late grants end, and how soon a
person is asked: see latency.py, packets.py, ends.py and prompts.py. A word (`changes`, `latency`,
`packets`, `ends`, `prompts`) measures one alone.

Both sides are commands run in the same guest in the same run, one after the other, alternating, so
that ratios hold on a noisy machine; seconds count in the guest, the start of the command included.
"""

import json
import statistics
import sys
from collections.abc import Callable, Mapping

from tests.guest.firewall import ROOT, SECONDS, WARM, Firewall, installed_snapshot
from tests.guest.lab.guest import Guest
from tests.guest.lab.store import base_snapshot, restore

from . import ends, latency, packets, prompts

FAST_ROUNDS, LOAD_ROUNDS = 10, 3
PROXY = "10.9.0.5"
RECIPE = """(type {name}_client_packet_t)
(roletype object_r {name}_client_packet_t)
(typeattributeset client_packet_type ({name}_client_packet_t))
(typeattributeset packet_type ({name}_client_packet_t))
(typeattributeset cil_gen_require mozilla_t)
(allow mozilla_t {name}_client_packet_t (packet (send recv)))
"""

Seconds = dict[str, list[float]]


def main() -> int:
    """Measure, print a table, and put the figures into build/bench.json beside other ones."""
    kinds = sys.argv[1:] or [*KINDS]
    if unknown := set(kinds) - KINDS.keys():
        print(f"no such kind: {', '.join(unknown)}; there are: {', '.join(KINDS)}", file=sys.stderr)
        return 2
    for kind in kinds:
        write(KINDS[kind]())
    return 0


def changes() -> Mapping[str, object]:
    """Measure what a change costs."""
    with restore(installed_snapshot(base_snapshot())) as guest:
        seconds = measure(Firewall(guest))
    report(seconds)
    return figures(seconds)


def packet_costs() -> Mapping[str, object]:
    """Measure what a packet costs."""
    values = packets.figures(packets.measure())
    packets.report(values)
    return {"packet": values}


def latencies() -> Mapping[str, object]:
    """Measure what a change costs with many grants held."""
    values = latency.figures(latency.measure())
    latency.report(values)
    return values


def lateness() -> Mapping[str, object]:
    """Measure how late grants end."""
    values = ends.figures(ends.measure())
    ends.report(values)
    return {"ends": values}


def promptness() -> Mapping[str, object]:
    """Measure how soon a person is asked, and an answer is in force."""
    values = prompts.figures(prompts.measure())
    prompts.report(values)
    return {"prompts": values}


def write(found: Mapping[str, object]) -> None:
    """Put figures into build/bench.json; those of other kinds that are there stay."""
    target = ROOT / "build" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    before = json.loads(target.read_text()) if target.exists() else {}
    target.write_text(json.dumps({**before, **found}, indent=2) + "\n")
    print(f"\nwritten: {target}")


def measure(firewall: Firewall) -> Seconds:
    """Return the seconds of every kind of act."""
    seconds: Seconds = {}

    def timed(kind: str, method: str, signature: str, *arguments: str) -> None:
        took = firewall.call(method, signature, *arguments, "0").seconds
        seconds.setdefault(kind, []).append(took)

    for number in range(FAST_ROUNDS):
        place = f"{PROXY}:{4000 + number}"
        timed("floor", "List", "a{sv}")
        timed("guard", "Guard", "sa{sv}", place)
        timed("grant", "Grant", "ssa{sv}", "mozilla_t", place)
        timed("revoke", "Revoke", "ssa{sv}", "mozilla_t", place)
    firewall.clear()
    for number in range(LOAD_ROUNDS):
        place = f"{PROXY}:{5000 + number}"
        firewall.guard(place)
        firewall.grant("mozilla_t", place)
        timed("grant+load", "Grant", "ssa{sv}", WARM[1 + number], place)
        seconds.setdefault("recipe", []).append(_recipe(firewall.guest, number))
    return seconds


def _recipe(guest: Guest, number: int) -> float:
    """Do by hand what one grant does: a module, semodule, an iptables rule."""
    name = f"bench{number}"
    guest.write(f"/root/{name}.cil", RECIPE.format(name=name))
    rule = (
        f"iptables -t mangle -A OUTPUT -p tcp --dport 3128 -d {PROXY} -j SECMARK "
        f"--selctx system_u:object_r:{name}_client_packet_t:s0"
    )
    command = f"semodule -i /root/{name}.cil && {rule}"
    return guest.run(command, timeout=SECONDS, check=True).seconds


def figures(seconds: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return milliseconds, median and worst, by kind."""
    return {
        kind: {"p50_ms": 1e3 * statistics.median(times), "max_ms": 1e3 * max(times)}
        for kind, times in seconds.items()
    }


def report(seconds: Mapping[str, list[float]]) -> None:
    """Print the table and the ratios."""
    values = figures(seconds)
    titles = {
        "floor": "a busctl call that changes nothing",
        "guard": "guard, no policy load",
        "grant": "grant, no policy load",
        "revoke": "revoke, no policy load",
        "grant+load": "grant, with a policy load",
        "recipe": "the recipe: semodule and iptables",
    }
    print(
        f"{'from call to reply, in the guest':40} {'median ms':>10} {'worst ms':>10} {'rounds':>7}"
    )
    for kind, title in titles.items():
        row = values[kind]
        count = len(seconds[kind])
        print(f"{title:40} {row['p50_ms']:10.0f} {row['max_ms']:10.0f} {count:7}")
    recipe = values["recipe"]["p50_ms"]
    for kind in ("guard", "grant", "revoke", "grant+load"):
        print(f"the recipe takes {recipe / values[kind]['p50_ms']:.1f} times as long as {kind}")


KINDS: Mapping[str, Callable[[], Mapping[str, object]]] = {
    "changes": changes,
    "latency": latencies,
    "packets": packet_costs,
    "ends": lateness,
    "prompts": promptness,
}

if __name__ == "__main__":
    sys.exit(main())
