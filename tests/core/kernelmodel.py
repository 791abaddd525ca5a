"""A model kernel: a base policy, our module compiled over it, and our table."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

from appfwd.core.baseline import baseline_of
from appfwd.core.listing import NotOurs, decode_table, is_orphan
from appfwd.core.machine import Machine
from appfwd.core.module import (
    is_current,
    is_installed,
    loaded_module,
    module_text,
)
from appfwd.core.plan import ApplyTable, LoadModule, SetBooleans, Snapshot, Step
from appfwd.core.table import Table
from appfwd.model.policy import LoadedPolicy, Rights
from tests.core.cilreader import Loaded, load
from tests.core.evaluator import Evaluator
from tests.core.nftmodel import NftModel
from tests.core.packets import opened, packet_of
from tests.core.querying import queried
from tests.core.reference import BOTH, Point
from tests.core.samples import CONTEXTS, EPHEMERAL, UNLABELED


@dataclass
class KernelModel:
    """What the kernel has. ``base`` is the distribution's policy, which may change under us."""

    base: LoadedPolicy
    module: str = ""
    nft: NftModel = field(default_factory=NftModel)
    #: libsepol drops rules that others cover, so a query sees none that the bridge covers.
    optimizes: bool = False
    booleans: dict[str, bool] = field(default_factory=dict)

    def loaded(self) -> Loaded:
        """Return the loaded policy."""
        return load(self.module, self.base, UNLABELED, self.booleans)

    def policy(self) -> LoadedPolicy:
        """Return what a query of the loaded policy answers."""
        return queried(self.loaded(), self.base, optimizes=self.optimizes)

    def machine(self) -> Machine:
        """Return what the compiler must know."""
        policy = self.policy()
        return Machine(policy, CONTEXTS, EPHEMERAL, baseline_of(policy))

    def snapshot(self) -> Snapshot:
        """Read back."""
        listing = self.nft.listing()
        table: Table | None = Table()
        if listing:
            try:
                table = decode_table(listing)
            except NotOurs:
                table = None
        policy = self.policy()
        return Snapshot(
            loaded_module(policy, CONTEXTS),
            table,
            bool(listing),
            is_orphan(listing),
            is_installed(policy),
            is_current(policy),
        )

    def apply(self, step: Step) -> None:
        """Do one step; the models refuse what the kernel would."""
        if isinstance(step, ApplyTable):
            self.nft.transaction(step.commands)
        elif isinstance(step, LoadModule):
            self.install(module_text(step.module, CONTEXTS))
        elif isinstance(step, SetBooleans):
            self.set_booleans(step.values)
        else:
            self.install("")

    def install(self, text: str) -> None:
        """Load the policy with another module; booleans that stay keep their values."""
        loaded = load(text, self.base, UNLABELED, self.booleans)
        self.module, self.booleans = text, loaded.booleans

    def set_booleans(self, values: Mapping[str, bool]) -> None:
        """Commit booleans, of which all must be there."""
        missing = values.keys() - self.booleans.keys()
        assert not missing, missing
        self.booleans.update(values)

    def copy(self) -> KernelModel:
        """Return a kernel of the same state that goes its own way."""
        return copy.deepcopy(self)

    def view(self) -> View:
        """Return who is allowed what, now."""
        return View(self)


class View:
    """The kernel's verdicts at one moment."""

    def __init__(self, kernel: KernelModel) -> None:
        self._loaded = kernel.loaded()
        self._labelling = bool(kernel.nft.objects) or self._loaded.strict
        listing = kernel.nft.listing()
        self._table = decode_table(listing) if listing else Table()
        self._evaluator = Evaluator(self._table)

    def permissions(self, domain: str, label: str | None) -> frozenset[str]:
        """Return what ``domain`` may do with a packet of ``label``."""
        if not self._labelling:
            return BOTH
        packet_type = self._table.type_of(label or UNLABELED)
        return self._loaded.permissions(domain, packet_type) & BOTH

    def allowed(self, domain: str, point: Point) -> frozenset[str]:
        """Return which packets of a connection to ``point`` pass, its direction being sure."""
        entry = opened(point)
        entry.make_sure()
        ours, theirs = ("original", "reply")
        if point.direction.value == "in":
            ours, theirs = theirs, ours
        sent = self._evaluator.send(packet_of(entry, ours))  # type: ignore[arg-type]
        got = self._evaluator.receive(packet_of(entry, theirs))  # type: ignore[arg-type]
        return frozenset(
            ({"send"} & self.permissions(domain, sent)) | ({"recv"} & self.permissions(domain, got))
        )

    def rights(self, label: str) -> Rights | None:
        """Return who may use ``label``, the kernel left out; None where policy has no such type."""
        if label not in self._loaded.types:
            return None
        return self._loaded.rights(label) - Rights(send=frozenset({CONTEXTS.kernel}))
