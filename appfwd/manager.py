"""What the daemon can be asked, as an ordinary object: no bus, no authorisation, plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appfwd import __version__
from appfwd.core import explain as explaining
from appfwd.core.module import Module, loaded_module
from appfwd.core.nft import counters
from appfwd.core.table import Key, Table
from appfwd.errors import AppfwdError, InvalidArgument, InvalidOption, shown
from appfwd.kernel import Kernel
from appfwd.model.destination import Destination, Direction, parse_destination
from appfwd.model.domain import known_domain, parse_domain
from appfwd.model.options import check_options, direction_of, page_of
from appfwd.model.services import PROTOCOL_NAMES
from appfwd.model.state import (
    Bridge,
    Change,
    Grant,
    Guard,
    add_grant,
    add_guard,
    remove_grant,
    remove_guard,
    set_active,
    set_bridge,
)
from appfwd.ports import Caller, Record, Selinux
from appfwd.reconciler import Reconciler

Options = Mapping[str, object]
Row = dict[str, Any]

_CHANGE = {"direction": str}
_PAGE = {"offset": int, "limit": int}
_LIST = {"kind": str, "domain": str, "direction": str, **_PAGE}


class Manager:
    """Parses requests and passes them to the reconciler, or answers from what is in force."""

    def __init__(self, reconciler: Reconciler, kernel: Kernel, selinux: Selinux) -> None:
        self._reconciler, self._kernel, self._selinux = reconciler, kernel, selinux

    async def grant(self, caller: Caller, domain: str, destination: str, options: Options) -> str:
        """Open ``destination`` to ``domain``; return the grant's id.

        Raises:
            AppfwdError: nothing was changed.

        """
        grant = Grant(await self._domain(domain), _destination(destination, options))
        return await self._add(grant, add_grant(grant), caller)

    async def revoke(self, caller: Caller, domain: str, destination: str, options: Options) -> None:
        """Take a grant away. The domain need not be in the policy any more.

        Raises:
            NotFound: there is no such grant.
            AppfwdError: nothing was changed.

        """
        place, name = _destination(destination, options), parse_domain(domain)
        aliases = (await self._kernel.policy()).aliases
        grant = Grant(aliases.get(name, name), place)
        await self._reconciler.submit(remove_grant(grant), caller.uid)

    async def guard(self, caller: Caller, destination: str, options: Options) -> str:
        """Shut ``destination`` to all but those granted; return the guard's id.

        Raises:
            AppfwdError: nothing was changed.

        """
        guard = Guard(_destination(destination, options))
        return await self._add(guard, add_guard(guard), caller)

    async def unguard(self, caller: Caller, destination: str, options: Options) -> None:
        """Take a guard away.

        Raises:
            NotFound: there is no such guard.
            AppfwdError: nothing was changed.

        """
        guard = Guard(_destination(destination, options))
        await self._reconciler.submit(remove_guard(guard), caller.uid)

    async def set_bridge(self, caller: Caller, mode: str, options: Options) -> None:
        """Open or close the bridge for unlabelled packets.

        Raises:
            InvalidArgument: no such mode.
            AppfwdError: nothing was changed.

        """
        check_options(options, {})
        try:
            bridge = Bridge(mode)
        except ValueError:
            msg = f"The bridge is 'open' or 'closed', not {shown(mode)}."
            raise InvalidArgument(msg) from None
        await self._reconciler.submit(set_bridge(bridge), caller.uid)

    async def up(self, caller: Caller, options: Options) -> None:
        """Bring the desired state back into the kernel after :meth:`down`."""
        check_options(options, {})
        await self._reconciler.submit(set_active(active=True), caller.uid)

    async def down(self, caller: Caller, options: Options) -> None:
        """Take table and module out of the kernel; the desired state stays stored."""
        check_options(options, {})
        await self._reconciler.submit(set_active(active=False), caller.uid)

    async def list_entries(self, _caller: Caller, options: Options) -> list[Row]:
        """Return grants and guards that the filter takes, a page of them, oldest first."""
        check_options(options, _LIST)
        page = page_of(options)
        if options.get("kind", "grant") not in ("grant", "guard"):
            raise InvalidOption(
                f"Option 'kind' is 'grant' or 'guard', not {shown(str(options['kind']))}."
            )
        direction_of(options)
        domains = (await self._kernel.policy()).domains
        rows = [
            entry_row(member, record, domains)
            for member, record in self._reconciler.stored.records.items()
        ]
        keys = ("kind", "domain", "direction")
        kept = [row for row in rows if all(row[k] == options[k] for k in keys if k in options)]
        return kept[page]

    async def explain(
        self, _caller: Caller, domain: str, destination: str, options: Options
    ) -> Row:
        """Say from the kernel's state whether ``domain`` reaches ``destination``, and why."""
        place = _destination(destination, options)
        name = await self._domain(domain)
        machine = await self._kernel.machine()
        snapshot = await self._kernel.snapshot(machine)
        table = snapshot.table or Table()
        unlabeled = machine.contexts.unlabeled
        labels = explaining.labels_at(table, place, unlabeled)
        answer = explaining.explain(
            name,
            place,
            self._reconciler.stored.state,
            {label: self._selinux.access(name, label) for label in labels},
            unlabeled=unlabeled,
            labelling=bool(table.contexts),
        )
        return {
            "verdict": answer.verdict,
            "why": answer.why,
            "remedy": answer.remedy,
            "labels": list(answer.labels),
            "guards": [str(guard) for guard in answer.guards],
            "grants": [str(grant.destination) for grant in answer.grants],
            "enforcing": self._selinux.enforcing(),
        }

    async def get_rules(self, _caller: Caller, options: Options) -> Row:
        """Return labels, elements (a page) and counters as they are in the kernel now."""
        check_options(options, _PAGE)
        page = page_of(options)
        machine = await self._kernel.machine()
        listing = await self._kernel.listing()
        table = self._kernel.snapshot_of(listing, machine).table or Table()
        module = loaded_module(machine.policy, machine.contexts)
        rows = [
            _element_row(str(name), key, label)
            for name, elements in sorted(table.maps.items(), key=lambda item: str(item[0]))
            for key, label in sorted(elements.items())
        ]
        return {
            "labels": [_label_row(n, c, module) for n, c in sorted(table.contexts.items())],
            "elements": rows[page],
            "total": len(rows),
            "counters": [
                {"map": name, **counts} for name, counts in sorted(counters(listing).items())
            ],
        }

    def properties(self) -> Row:
        """Return the properties by name."""
        settings = self._reconciler.stored.state.settings
        problem = self._reconciler.problem
        return {
            "Active": settings.active,
            "Bridge": settings.bridge.value,
            "Enforcing": self._selinux.enforcing(),
            "Problem": "" if problem is None else str(problem),
            "Version": __version__,
            "Warnings": self._warnings(),
        }

    def _warnings(self) -> list[str]:
        """Return what weakens the firewall though nothing of appfwd's own is wrong."""
        found = [
            f"The {rival} labels packets too, after appfwd or in its place; what it labels, appfwd "
            "does not protect. Take its rules away, or say in it what appfwd says."
            for rival in self._kernel.rivals
        ]
        if not self._selinux.enforcing():
            found.append(
                "SELinux is permissive: refusals are recorded and not enforced ('setenforce 1')."
            )
        return found

    async def _add(self, member: Grant | Guard, change: Change, caller: Caller) -> str:
        if not self._reconciler.stored.state.settings.active:
            msg = "appfwd is down, so nothing would come into force; 'appfwctl up' first."
            raise AppfwdError(msg)
        stored = await self._reconciler.submit(change, caller.uid)
        return stored.records[member].id

    async def _domain(self, text: str) -> str:
        return known_domain(parse_domain(text), await self._kernel.policy())


def _destination(text: str, options: Options) -> Destination:
    check_options(options, _CHANGE)
    return parse_destination(text, direction_of(options))


def entry_row(member: Grant | Guard, record: Record, domains: frozenset[str] | None) -> Row:
    """Return a grant or guard as a row; ``dormant`` where the policy lacks its domain."""
    domain = member.domain if isinstance(member, Grant) else ""
    return {
        "id": record.id,
        "kind": "grant" if isinstance(member, Grant) else "guard",
        "domain": domain,
        "destination": str(member.destination),
        "direction": member.destination.direction.value,
        "created": record.created,
        "uid": record.uid,
        "dormant": bool(domain) and domains is not None and domain not in domains,
    }


def _element_row(name: str, key: Key, label: str) -> Row:
    protocols, ports = key.service.protocols, key.service.ports
    return {
        "map": name,
        "direction": Direction(name.partition("_")[0]).value,
        "peer": str(key.peer),
        "protocols": _span(protocols.first, protocols.last, PROTOCOL_NAMES),
        "ports": _span(ports.first, ports.last, {}),
        "label": label,
    }


def _span(first: int, last: int, names: Mapping[int, str]) -> str:
    if first == last:
        return names.get(first, str(first))
    return f"{first}-{last}"


def _label_row(name: str, context: str, module: Module) -> Row:
    rights = module.types.get(name)
    return {
        "label": name,
        "context": context,
        "send": sorted(rights.send) if rights else [],
        "recv": sorted(rights.recv) if rights else [],
    }
