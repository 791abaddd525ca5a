"""Questions about what is asked for, what the kernel has, and what the policy says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from appfwd import __version__
from appfwd.core import explain as explaining
from appfwd.core.listing import counters
from appfwd.core.module import loaded_module
from appfwd.core.rule import Rule
from appfwd.core.table import Table
from appfwd.core.who import Uses, kind_of, reaching
from appfwd.errors import InvalidOption, shown
from appfwd.kernel.readback import snapshot_of
from appfwd.manager.parts import PAGE, PLACE, Options, Parts, Row, destination_of
from appfwd.manager.rows import (
    element_rows,
    ended_at,
    ended_row,
    entry_row,
    label_row,
    segment_rows,
)
from appfwd.model.destination import Direction
from appfwd.model.ends import Finish
from appfwd.model.options import check_options, direction_of, page_of
from appfwd.model.state import Member
from appfwd.model.state import place as place_text
from appfwd.ports import Caller, Rows

_LIST = {"kind": str, "domain": str, "direction": str, "ended": bool, **PAGE}


class Queries(Parts):
    """Lists and explanations; none changes anything."""

    async def list_entries(self, _caller: Caller, options: Options) -> list[Row]:
        """Return grants, guards and fences that the filter takes, a page of them, oldest first.

        With the option ``ended`` grants follow whose end came not long ago.
        """
        check_options(options, _LIST)
        page = page_of(options)
        if options.get("kind", "grant") not in ("grant", "guard", "fence"):
            kind = shown(str(options["kind"]))
            raise InvalidOption(f"Option 'kind' is 'grant', 'guard' or 'fence', not {kind}.")
        direction_of(options)
        domains = (await self._kernel.policy()).domains
        stored, ends = self._reconciler.stored, self._reconciler.ends()
        rows = [
            entry_row(member, record, domains, ends.get(member))
            for member, record in stored.records.items()
        ]
        if options.get("ended"):
            rows += [ended_row(one, domains) for one in sorted(stored.state.ended, key=ended_at)]
        keys = ("kind", "domain", "direction")
        kept = [row for row in rows if all(row[k] == options[k] for k in keys if k in options)]
        return kept[page]

    async def explain(
        self, _caller: Caller, domain: str, destination: str, options: Options
    ) -> Row:
        """Say from the kernel's state whether ``domain`` reaches ``destination``, and why."""
        place = destination_of(destination, options)
        name = await self._domain(domain)
        machine = await self._kernel.machine()
        snapshot = await self._kernel.snapshot(machine)
        table = snapshot.table or Table()
        unlabeled = machine.contexts.unlabeled
        labels = explaining.labels_of(table, place, unlabeled)
        answer = explaining.explain(
            name,
            place,
            self._reconciler.stored.state,
            {label: self._selinux.access(name, label) for label in labels},
            unlabeled=unlabeled,
            labelling=snapshot.labelling,
        )
        return {
            "verdict": answer.verdict,
            "why": answer.why,
            "remedy": answer.remedy,
            "labels": list(answer.labels),
            "guards": [str(guard) for guard in answer.guards],
            "grants": [str(grant.destination) for grant in answer.grants],
            "fenced": answer.spared is not None,
            "spared": [place_text(one) for one in answer.spared or ()],
            "differs": explaining.difference(
                answer.verdict,
                wanted=Rule(self._reconciler.stored.state, machine).allowed(name, place),
                destination=place,
            ),
            "enforcing": self._selinux.enforcing(),
        }

    async def who(self, _caller: Caller, destination: str, options: Options) -> list[Row]:
        """Return every domain that reaches ``destination`` by the kernel's state, and by what."""
        place = destination_of(destination, options, PAGE)
        page = page_of(options)
        machine = await self._kernel.machine()
        snapshot = await self._kernel.snapshot(machine)
        uses = Uses(machine, snapshot.module, labelling=snapshot.labelling)
        labels = explaining.labels_of(snapshot.table or Table(), place, machine.contexts.unlabeled)
        found = reaching(uses, labels, self._reconciler.stored.state, place)
        return [
            {
                "domain": one.domain,
                "verdict": "allowed" if one.everywhere else "partly",
                "labels": list(one.labels),
                "through": one.through,
            }
            for one in found[page]
        ]

    async def get_rules(self, _caller: Caller, options: Options) -> Row:
        """Return labels, elements (a page) and counters as they are in the kernel now."""
        check_options(options, PAGE)
        page = page_of(options)
        machine = await self._kernel.machine()
        listing = await self._kernel.listing()

        def rules() -> Row:
            table = snapshot_of(listing, machine).table or Table()
            module = loaded_module(machine.policy, machine.contexts)
            rows = list(element_rows(table))
            return {
                "labels": Rows(label_row(name, table, module) for name in sorted(table.contexts)),
                "elements": Rows(rows[page]),
                "total": len(rows),
                "counters": Rows(
                    {"map": name, **counts} for name, counts in sorted(counters(listing).items())
                ),
            }

        return await asyncio.to_thread(rules)

    async def get_baseline(self, _caller: Caller, options: Options) -> Row:
        """Return which packet type the policy has for every port, a page, and what it lacks."""
        check_options(options, {**PLACE, **PAGE})
        page = page_of(options)
        wanted = {direction_of(options)} if "direction" in options else set(Direction)
        baseline = (await self._kernel.machine()).baseline
        rows = [
            row
            for direction in Direction
            if direction in wanted
            for segment in baseline.of(direction)
            for row in segment_rows(direction, segment)
        ]
        return {
            "enabled": self._reconciler.stored.state.settings.baseline,
            "rows": Rows(rows[page]),
            "total": len(rows),
            "report": list(baseline.report),
        }

    async def list_types(self, _caller: Caller, domain: str, options: Options) -> list[Row]:
        """Return the loaded policy's packet rules that concern ``domain``, a page of them."""
        check_options(options, PAGE)
        page = page_of(options)
        name = await self._domain(domain)
        unlabeled = (await self._kernel.machine()).contexts.unlabeled
        return [
            {
                "source": rule.source,
                "target": rule.target,
                "permissions": list(rule.permissions),
                "condition": rule.condition,
                "holds": rule.holds,
                "kind": kind_of(rule.target, unlabeled),
            }
            for rule in (await self._kernel.rules(name))[page]
        ]

    def ends(self) -> Mapping[Member, Finish]:
        """Return when each grant that ends does (see :func:`entry_row`)."""
        return self._reconciler.ends()

    def properties(self) -> Row:
        """Return the properties by name."""
        settings = self._reconciler.stored.state.settings
        problem = self._reconciler.problem
        return {
            "Active": settings.active,
            "Baseline": settings.baseline,
            "Bridge": settings.bridge.value,
            "Deadline": self._reconciler.deadline(),
            "Enforcing": self._selinux.enforcing(),
            "Problem": "" if problem is None else str(problem),
            "Strict": settings.strict,
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
        if self._hearing.deaf:
            found.append(self._hearing.deaf)
        return found
