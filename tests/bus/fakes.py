"""In-memory stand-ins for the kernel's side, which fail and wait when told to.

The guest tier runs the real ones. Here they only have to keep what they are given, since the
kernel's side is read back and verified as always.
"""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from appfwd.adapters.store import SqliteStore
from appfwd.errors import AppfwdError, SelinuxDisabled
from appfwd.keeping import Keeper
from appfwd.model.policy import KernelContexts, LoadedPolicy, PacketRule, PortContext, Rights
from appfwd.model.services import Interval
from appfwd.model.state import DesiredState
from appfwd.ports import Stored
from tests.core.cilreader import Loaded, load
from tests.core.querying import queried

Json = Mapping[str, Any]
UNLABELED, KERNEL, LOADER = "unlabeled_t", "kernel_t", "appfwd_t"
DOMAINS = frozenset(
    {KERNEL, LOADER, "mozilla_t", "squid_t", "sshd_t", "postgresql_t", "unconfined_t"}
)


def _both(*domains: str) -> Rights:
    """Return the rights of these, and of the kernel, as the distribution's policies have it."""
    return Rights.both(frozenset({KERNEL, "unconfined_t", *domains}))


#: The packet types of the policy: browsers reach web servers, servers serve, ping is for all.
LABELS = {
    "client_packet_t": _both(),
    "server_packet_t": _both(),
    "icmp_packet_t": _both(*DOMAINS),
    "http_client_packet_t": _both("mozilla_t", "squid_t"),
    "http_server_packet_t": _both(),
    "ssh_client_packet_t": _both(),
    "ssh_server_packet_t": _both("sshd_t"),
    "postgresql_server_packet_t": _both("postgresql_t"),
}
PORTS = (
    PortContext(6, Interval(22, 22), "ssh_port_t"),
    PortContext(6, Interval(80, 80), "http_port_t"),
    PortContext(6, Interval(443, 443), "http_port_t"),
    PortContext(6, Interval(5432, 5432), "postgresql_port_t"),
    PortContext(6, Interval(1, 1023), "reserved_port_t"),
)
BASE = LoadedPolicy(
    domains=DOMAINS,
    attributes=frozenset({"domain", "netif_type", "node_type"}),
    types=DOMAINS | {UNLABELED} | {context.port_type for context in PORTS},
    aliases={"firefox_t": "mozilla_t"},
    unlabeled=_both(),
    labels=LABELS,
    relabel=frozenset(LABELS),
    ports=PORTS,
)
CONTEXTS = KernelContexts("system_u", "object_r", "s0", UNLABELED, KERNEL, LOADER)


class Faults:
    """What each place (``nft``, ``install``, ``save`` ...) shall do when it is next reached."""

    def __init__(self) -> None:
        self.reached: Counter[str] = Counter()
        self.errors: dict[str, list[Exception]] = defaultdict(list)
        self.gates: dict[str, asyncio.Event] = {}

    async def at(self, place: str) -> None:
        """Count, wait where the place is held, and raise what is next there."""
        self.reached[place] += 1
        if place in self.gates:
            await self.gates[place].wait()
        if self.errors[place]:
            raise self.errors[place].pop(0)

    def clear(self) -> None:
        """Forget faults and counts; let go who waits."""
        for gate in self.gates.values():
            gate.set()
        self.gates.clear()
        self.errors.clear()
        self.reached.clear()


class FakeNft:
    """Keeps the table's objects as they were added."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.table: Json | None = None
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.elements: dict[str, dict[str, Any]] = {}
        self.rules: dict[str, list[Json]] = {}
        #: When each transaction that began no epoch was done, of CLOCK_MONOTONIC.
        self.commits: list[float] = []

    async def run(self, commands: Sequence[Json]) -> None:
        await self._faults.at(_place("nft"))
        for command in copy.deepcopy(list(commands)):
            ((verb, what),) = command.items()
            ((kind, value),) = what.items()
            self._one(verb, kind, value)
        await self.kept(commands)
        if not _is_keeper():
            self.commits.append(time.monotonic())

    async def kept(self, commands: Sequence[Json]) -> None:
        """Do what else is to be done of a transaction."""

    def _one(self, verb: str, kind: str, value: dict[str, Any]) -> None:
        if kind == "table":
            self._clear(value if verb == "add" else None)
        elif kind == "element":
            self._element(verb, value)
        elif kind == "rule":
            self.rules[value["chain"]].append(value)
        elif verb == "delete":
            del self.objects[kind, value["name"]]
        elif kind == "chain":
            self.rules[value["name"]] = []
            if verb == "add":
                self.objects[kind, value["name"]] = value
        else:
            self.objects[kind, value["name"]] = value
            self.elements[value["name"]] = {}

    def _clear(self, table: Json | None) -> None:
        self.table = table
        if table is None:
            for kept in (self.objects, self.elements, self.rules):
                kept.clear()

    def _element(self, verb: str, value: dict[str, Any]) -> None:
        elements = self.elements[value["name"]]
        for key, label in value["elem"]:
            if verb == "add":
                elements[json.dumps(key)] = label
            else:
                del elements[json.dumps(key)]

    async def list_ruleset(self) -> Sequence[Json]:
        return self._rows(terse=False)

    async def labels(self, name: str, keys: Sequence[Json]) -> Sequence[str | None]:
        await self._faults.at(_place("list"))
        return [self.elements.get(name, {}).get(json.dumps(key)) for key in keys]

    async def list_maps(self, names: Collection[str]) -> Sequence[Json]:
        rows = await self.list_table()
        return [row for row in rows if row.get("map", {}).get("name") in names]

    async def list_table(self, *, terse: bool = False) -> Sequence[Json]:
        await self._faults.at(_place("list"))
        return self._rows(terse=terse)

    def _rows(self, *, terse: bool) -> list[Json]:
        if self.table is None:
            return []
        rows: list[Json] = [{"table": self.table}]
        for (kind, name), value in self.objects.items():
            elements = [[json.loads(k), v] for k, v in self.elements.get(name, {}).items()]
            shown = kind == "map" and not terse
            rows.append({kind: {**value, "elem": elements} if shown else value})
        chains = [name for kind, name in self.objects if kind == "chain"]
        return rows + [{"rule": rule} for name in chains for rule in self.rules[name]]


def _is_keeper() -> bool:
    """Tell who begins epochs, a second after a change, from who makes changes."""
    task: Any = asyncio.current_task()
    return task is not None and task.get_coro().__qualname__ == Keeper.run.__qualname__


def _place(place: str) -> str:
    """Return where who does this is; the keeper is always at a place of its own."""
    return "keep" if _is_keeper() else place


class FakePolicy:
    """The loaded policy, the module store and selinuxfs: three faces of one kernel."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.base, self.text, self.loads = BASE, "", 0
        self.enforced: bool | None = True
        self._known: tuple[LoadedPolicy, str, Loaded] | None = None
        self._booleans: dict[str, bool] = {}

    def _loaded(self) -> Loaded:
        """Return the policy that is loaded, compiled once for each that there was."""
        if self._known is None or self._known[:2] != (self.base, self.text):
            loaded = load(self.text, self.base, UNLABELED, self._booleans)
            self._known = (self.base, self.text, loaded)
        return self._known[2]

    async def install(self, text: str) -> None:
        await self._faults.at("install")
        self._booleans = load(text, self.base, UNLABELED, self._booleans).booleans
        self.text, self.loads = text, self.loads + 1

    async def remove(self) -> None:
        await self._faults.at("remove")
        self.text, self.loads = "", self.loads + 1

    async def read(self) -> LoadedPolicy:
        await self._faults.at("read")
        return queried(self._loaded(), self.base)

    async def rules(self, domain: str) -> Sequence[PacketRule]:
        """Return what sesearch tells: a rule for each type that the domain may use."""
        await self._faults.at("rules")
        loaded = self._loaded()
        found = {target: loaded.permissions(domain, target) for target in list(loaded.rules)}
        return [
            PacketRule(domain, target, tuple(sorted(permissions)), "", holds=True)
            for target, permissions in sorted(found.items())
            if permissions
        ]

    def contexts(self) -> KernelContexts:
        return CONTEXTS

    def enforcing(self) -> bool:
        if self.enforced is None:
            msg = "SELinux went away."
            raise SelinuxDisabled(msg)
        return self.enforced

    def access(self, domain: str, packet_type: str) -> frozenset[str]:
        return self._loaded().permissions(domain, packet_type)

    def always_checks(self) -> bool:
        return self._loaded().strict

    def policy_load(self) -> int:
        return self.loads

    def set_booleans(self, values: Mapping[str, bool]) -> None:
        self._booleans.update(values)
        self._known, self.loads = None, self.loads + 1

    def change(self, domains: Sequence[str], *, baseline: bool = True) -> None:
        """Have a policy with these domains beside the kernel's own, as after a package's change.

        Without ``baseline`` it brings no packet types.
        """
        present = frozenset(domains) | {KERNEL, LOADER}
        self.base = replace(
            BASE,
            domains=present,
            types=(BASE.types - BASE.domains) | present,
            labels=LABELS if baseline else {},
            relabel=BASE.relabel if baseline else frozenset(),
        )
        self.loads += 1


class FakeHost:
    """A machine with the usual range of ports."""

    def ephemeral_ports(self) -> Interval:
        return Interval(32768, 60999)


class CountingStore(SqliteStore):
    """The real store, which can be told to fail."""

    faults: Faults

    async def save(self, state: DesiredState, now: float, owners: Mapping[Any, int]) -> Stored:
        await self.faults.at("save")
        return await super().save(state, now, owners)


def error_of(name: str, text: str) -> Exception:
    """Return an error of ours by its class's name, or one that nobody foresaw."""
    classes: list[type[AppfwdError]] = [AppfwdError]
    for cls in classes:
        classes.extend(cls.__subclasses__())
    found = next((cls for cls in classes if cls.__name__ == name), None)
    return RuntimeError(text) if found is None else found(text)
