"""What a label costs each packet: our maps beside no table, connection tracking and lists of rules.

Ours are measured as the daemon has them, where established flows keep their labels, and with every
packet looked up, as it is for a second after a change.

The lists are what refpolicy's own generator writes for the guest's policy; that they and the
baseline agree is held by tests/guest/test_baseline.py. Variants are loaded one after the other in
each round, so that what the machine does meanwhile falls on all of them. The daemon is stopped,
or it would put its own table back.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from appfwd.core.keeping import KEPT
from appfwd.core.listing import as_written
from tests.guest.firewall import Firewall, installed_snapshot
from tests.guest.gennetfilter import generate
from tests.guest.lab.guest import Guest
from tests.guest.lab.store import base_snapshot, restore

from .guests import ask

ROUNDS = 5
#: Cells in the map of points, as services of hosts are; and in the map of networks.
SIZES, NETWORKS = (1_000, 10_000, 100_000), 10_000
#: A guarded and granted network, and such a point, whose maps get the other cells.
NETWORK, POINT = "10.8.0.0/16", "10.7.0.1:443/tcp"
CELLS = "maps_cells"
PLACES = {"127.0.0.1": "lo_", "10.9.0.5@peer": ""}
SECONDS = 300.0
EMPTY = "flush ruleset\n"
RULES = 1_000
OBJECT = 'secmark a { "system_u:object_r:client_packet_t:s0" }'
TITLES = {
    "none": "no table",
    "conntrack": "connections tracked, no label",
    "checked": "  and SELinux checks each packet",
    "maps_0": "our table with the baseline",
    "maps_0_each": "  every packet looked up",
    **{
        f"maps_{size}{suffix}": title.format(size)
        for size in SIZES
        for suffix, title in (
            ("", "the same and {:,} hosts"),
            ("_each", "  every packet looked up"),
        )
    },
    "networks_10000": f"the same and {NETWORKS:,} networks",
    "networks_10000_each": "  every packet looked up",
    "linear_1000": f"{RULES:,} nft rules",
    "nft_list": "the generator's nft rules",
    "iptables": "the generator's iptables rules",
}

#: As small as a table can be that has connections tracked, both ways.
CONNTRACK = EMPTY + "".join(
    f"table inet tracked {{ chain {hook} {{ type filter hook {hook} priority mangle; "
    f"ct state invalid counter; }}; }}\n"
    for hook in ("output", "input")
)

#: The same, and one label that nothing gets: with the first one SELinux checks every packet.
CHECKED = CONNTRACK + f"table inet labels {{\n{OBJECT}\n}}\n"

Samples = dict[str, dict[str, list[float]]]
Figures = dict[str, dict[str, float]]


def measure() -> Samples:
    """Return what was measured in each round: by variant, and then by kind."""
    samples: Samples = {}
    with restore(installed_snapshot(base_snapshot())) as guest:
        _prepare(guest)
        for _ in range(ROUNDS):
            for variant in TITLES:
                _load(guest, variant)
                said = ask(guest, "traffic", *PLACES, seconds=SECONDS)
                for place, prefix in PLACES.items():
                    for kind, value in said[place].items():
                        series = samples.setdefault(variant, {}).setdefault(prefix + kind, [])
                        series.append(value)
    return samples


def figures(samples: Mapping[str, Mapping[str, list[float]]]) -> Figures:
    """Return the best of the rounds; added time is that of a round trip beside no table's.

    What else the machine does takes time from some rounds, and gives none to any.
    """
    found: Figures = {}
    for variant, kinds in samples.items():
        best = {kind: _best(kind, values) for kind, values in kinds.items()}
        for prefix in PLACES.values():
            without = _best(f"{prefix}us", samples["none"][f"{prefix}us"])
            best[f"{prefix}added_us"] = best[f"{prefix}us"] - without
        found[variant] = best
    return found


def _best(kind: str, values: Sequence[float]) -> float:
    return min(values) if kind.endswith("us") else max(values)


def report(values: Figures) -> None:
    """Print the table, and the ratios to no table and to connection tracking alone."""
    kinds = [p + kind for p in ("", "lo_") for kind in ("gbit_s", "conn_s", "added_us")]
    print("lo_: loopback, else a veth pair; in brackets beside no table")
    print(f"{'':32}" + "".join(f"{kind:>16}" for kind in kinds))
    for variant, row in values.items():
        cells = [_cell(kind, row[kind], values["none"][kind]) for kind in kinds]
        print(f"{TITLES[variant]:32}" + "".join(f"{cell:>16}" for cell in cells))
    for variant in ("maps_0", *(f"maps_{size}" for size in SIZES), "networks_10000"):
        for other, title in (("conntrack", "tracking alone"), ("checked", "that and the checks")):
            row, beside = values[variant], values[other]
            ratios = [f"{k} {row[k] / beside[k]:.3f}" for k in ("gbit_s", "conn_s", "us")]
            more = row["us"] - beside["us"]
            print(f"{variant} beside {title}: {', '.join(ratios)}, {more:+.1f} us a round trip")


def _cell(kind: str, value: float, without: float) -> str:
    if kind.endswith("added_us"):
        return f"{value:.1f}"
    return f"{value:.3g} ({value / without:.2f})"


def _prepare(guest: Guest) -> None:
    """Write each variant to a file of the guest, and start iperf3's servers."""
    firewall = Firewall(guest)
    firewall.call("SetBaseline", "ba{sv}", "true", "0")
    _write_table(guest, "maps_0")
    for place in (NETWORK, POINT):
        firewall.guard(place)
        firewall.grant("mozilla_t", place)
    _write_table(guest, CELLS)
    # Of a place and a port each, disjoint from what is there.
    places = [f"10.{16 + n // 250 % 200}.{n % 250}.{1 + n % 7}" for n in range(max(SIZES))]
    keys = [f"{place} . tcp . {1 + n % 60_000}" for n, place in enumerate(places)]
    elements = [f'{key} : "appfwd_only_mozilla_t_packet_t"' for key in keys]
    for kind, name, sizes in (
        ("maps", "out_guard_exact4", SIZES),
        ("networks", "out_guard4", (NETWORKS,)),
    ):
        for size in sizes:
            listed = ", ".join(elements[:size])
            text = f"add element inet appfwd {name} {{ {listed} }}\n"
            guest.write(f"/root/{kind}_{size}.nft", text)
    guest.write("/root/conntrack.nft", CONNTRACK)
    guest.write("/root/checked.nft", CHECKED)
    guest.write("/root/linear_1000.nft", linear(places, 'meta secmark set "a"', OBJECT))
    guest.run("systemctl stop appfwd", check=True, timeout=SECONDS)
    generated = generate(guest)
    guest.write("/root/nft_list.nft", generated.nft)
    lines = [line.split(" ", 1)[1] + "\n" for line in generated.iptables.splitlines()]
    guest.write("/root/iptables.rules", "".join(lines))
    guest.write("/root/none.nft", EMPTY)
    guest.run("iperf3 -s -D; nsenter --net=/run/netns/peer iperf3 -s -D", check=True)


def linear(places: Sequence[str], statement: str, objects: str = "") -> str:
    """Return a list of rules, one for each of some places, as one writes them by hand."""
    lines = [EMPTY, "table inet linear {", objects]
    for hook, address, port in (("output", "daddr", "dport"), ("input", "saddr", "sport")):
        lines.append(f"chain {hook} {{ type filter hook {hook} priority mangle;")
        lines += [
            f"ip {address} {place} tcp {port} {1 + n} {statement}"
            for n, place in enumerate(places[:RULES])
        ]
        lines.append("}")
    return "\n".join([*lines, "}\n"])


def _write_table(guest: Guest, variant: str) -> None:
    """Write the daemon's table so that root may load it: nobody's own, with labels of the policy.

    Only the daemon may use its own labels; looking one up costs the same whichever it is. It is
    written as it is once flows keep their labels, and as it is before.
    """
    keeps = "nft list chain inet appfwd output_kept | grep -q 'ct secmark'"
    wait = f"for i in $(seq 100); do {keeps} && exit; sleep 0.2; done; exit 1"
    guest.run(wait, check=True, timeout=SECONDS)
    text = guest.run("nft -jp list table inet appfwd", check=True).out
    for own in ("appfwd_only_mozilla_t", "appfwd_nobody"):
        text = text.replace(f"object_r:{own}_packet_t", "object_r:client_packet_t")
    rows = json.loads(text)["nftables"]
    next(row["table"] for row in rows if "table" in row).pop("flags")
    for rule in (row["rule"] for row in rows if "rule" in row):
        rule["expr"] = [as_written(expr) for expr in rule["expr"]]
    tables = {variant: rows}
    if variant == CELLS:  # so many networks are looked up wherever a packet goes (core/spans.py)
        tables["networks_cells"] = [_everywhere(row) for row in rows]
    for name, table in tables.items():
        each = [row for row in table if not _keeps(row)]
        assert len(each) < len(table)
        for file, entries in ((name, table), (f"{name}_each", each)):
            guest.write(f"/root/{file}.json", json.dumps({"nftables": entries}).encode())


def _keeps(row: Mapping[str, Any]) -> bool:
    """Tell a rule by which flows keep labels: what a base chain goes on to is none."""
    rule = row.get("rule", {})
    return rule.get("chain") in KEPT and "goto" not in rule["expr"][0]


def _everywhere(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a rule without its match of addresses."""
    rule = row.get("rule")
    if rule is None:
        return row
    return {"rule": {**rule, "expr": [e for e in rule["expr"] if not _matches_addresses(e)]}}


def _matches_addresses(expr: Mapping[str, Any]) -> bool:
    left = expr.get("match", {}).get("left", {})
    of = left.get("ct", {}).get("key") or left.get("payload", {}).get("protocol", "")
    return str(of).startswith("ip")


def _load(guest: Guest, variant: str) -> None:
    """Put one variant in the place of whatever there is; connections begin anew with it."""
    if variant == "iptables":
        command = "nft flush ruleset; iptables-restore < /root/iptables.rules"
    elif variant.startswith(("maps", "networks")):
        # Libnftables reads its own masks of labels as JSON alone.
        kind, size, *each = variant.split("_")
        table = "_".join([kind, "cells" if int(size) else "0", *each])
        command = f"nft flush ruleset; nft -j -f /root/{table}.json"
        if int(size):
            command += f"; nft -f /root/{kind}_{size}.nft"
    else:
        command = f"nft -f /root/{variant}.nft"
    guest.run(f"set -e; {command}; conntrack -F 2> /dev/null", check=True, timeout=SECONDS)
