"""What a change costs, beside the same done otherwise: by the recipe, by firewalld, by nft alone.

Commands with their start, alternating, so that ratios hold on a noisy machine: ours by busctl, the
recipe by semodule and iptables, an element by nft. Without it, over one connection or context that
is there: firewalld and libnftables, to be held beside latency.py's. Our daemon is stopped while
others' changes are timed, since it looks at each of them. Seconds count in the guest.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tests.guest.firewall import SECONDS, Firewall, installed_snapshot
from tests.guest.lab.guest import Guest
from tests.guest.lab.store import base_snapshot, restore

from .guests import ask
from .samples import milliseconds

FAST_ROUNDS, OTHER_ROUNDS = 20, 50
#: Domains that never had a grant, one for each round with a policy load.
UNKNOWN = ("httpd_t", "fetchmail_t", "chronyd_t")
PATIENCE = 120.0
PROXY = "10.9.0.5"
RECIPE = """(type {name}_client_packet_t)
(roletype object_r {name}_client_packet_t)
(typeattributeset client_packet_type ({name}_client_packet_t))
(typeattributeset packet_type ({name}_client_packet_t))
(typeattributeset cil_gen_require mozilla_t)
(allow mozilla_t {name}_client_packet_t (packet (send recv)))
"""
#: A map as ours of points, in a table of nobody.
TABLE = """table inet bench {
    secmark label { "system_u:object_r:client_packet_t:s0" }
    map places { type ipv4_addr . inet_proto . inet_service : secmark; }
}
"""
TITLES = {
    "floor": "a busctl call that changes nothing",
    "guard": "guard, no policy load",
    "grant": "grant, no policy load",
    "revoke": "revoke, no policy load",
    "grant_load": "a domain's first grant, a policy load",
    "recipe": "the recipe: semodule and iptables",
    "nft": "nft add element",
    "libnftables": "  the same in a process that is there",
    "firewalld": "a rich rule, over firewalld's bus",
}

Seconds = dict[str, list[float]]


def measure() -> Seconds:
    """Return the seconds of every kind of change."""
    seconds: Seconds = {}
    with restore(installed_snapshot(base_snapshot())) as guest:
        _ours(Firewall(guest), seconds)
        guest.run("systemctl stop appfwd", check=True, timeout=SECONDS)
        _others(guest, seconds)
    return seconds


def _ours(firewall: Firewall, seconds: Seconds) -> None:
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
    for number, domain in enumerate(UNKNOWN):
        place = f"{PROXY}:{5000 + number}"
        firewall.guard(place)
        timed("grant_load", "Grant", "ssa{sv}", domain, place)
        seconds.setdefault("recipe", []).append(_recipe(firewall.guest, number))


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


def _others(guest: Guest, seconds: Seconds) -> None:
    guest.write("/root/bench.nft", TABLE)
    guest.run("nft -f /root/bench.nft", check=True)
    seconds["nft"] = [
        guest.run(
            f"nft add element inet bench places {{ {PROXY} . tcp . {4000 + n} : label }}",
            check=True,
        ).seconds
        for n in range(FAST_ROUNDS)
    ]
    seconds["libnftables"] = ask(
        guest, "others", "libnftables", PROXY, OTHER_ROUNDS, seconds=SECONDS
    )
    guest.run("nft delete table inet bench", check=True)
    process = guest.spawn(["firewalld", "--nofork", "--nopid"])
    end = time.monotonic() + PATIENCE
    while guest.run("firewall-cmd --state", timeout=SECONDS).rc:
        assert time.monotonic() < end, process.output()
        time.sleep(1)
    seconds["firewalld"] = ask(guest, "others", "firewalld", PROXY, OTHER_ROUNDS, seconds=PATIENCE)
    process.kill()
    process.wait(PATIENCE)


def figures(seconds: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Return milliseconds by kind."""
    return {f"{kind}_ms": milliseconds(times) for kind, times in seconds.items()}


def report(values: Mapping[str, Any]) -> None:
    """Print the table and the ratios."""
    title = "from call to reply, in the guest"
    print(f"{title:40} {'median ms':>10} {'worst ms':>10} {'rounds':>7}")
    for kind, what in TITLES.items():
        row = values[f"{kind}_ms"]
        print(f"{what:40} {row['p50']:10.1f} {row['max']:10.1f} {row['rounds']:7}")
    recipe = values["recipe_ms"]["p50"]
    for kind in ("guard", "grant", "revoke", "grant_load"):
        times = recipe / values[f"{kind}_ms"]["p50"]
        print(f"the recipe takes {times:.1f} times as long as {kind}")
