"""A desired state compiled and put in force on a model kernel, with its verdicts at hand."""

from __future__ import annotations

from appfwd.core.compiler import Artefacts, compile_state
from appfwd.core.module import module_text
from appfwd.core.table import Table
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import DesiredState
from tests.core.cilreader import Loaded, load
from tests.core.evaluator import Evaluator
from tests.core.kernelmodel import KernelModel
from tests.core.reference import BOTH
from tests.core.samples import CONTEXTS, UNLABELED


class Compiled:
    """What ``state`` is in the kernel, without the way there."""

    def __init__(self, state: DesiredState, policy: LoadedPolicy) -> None:
        self.artefacts: Artefacts = compile_state(state, KernelModel(policy).machine())
        self.evaluator = Evaluator(self.artefacts.table)
        text = module_text(self.artefacts.module, CONTEXTS) if self.artefacts.active else ""
        self._loaded: Loaded = load(text, policy, UNLABELED)

    @property
    def table(self) -> Table:
        """The table."""
        return self.artefacts.table

    def permissions(self, domain: str, label: str | None) -> frozenset[str]:
        """Return what ``domain`` may do with packets of ``label``."""
        if not self.table.contexts and not self._loaded.strict:
            return BOTH
        return self._loaded.permissions(domain, label or UNLABELED) & BOTH

    def is_audited(self, domain: str, label: str) -> bool:
        """Tell whether a packet of ``label`` that ``domain`` sends or gets is recorded."""
        return (domain, label) in self._loaded.audited

    def may(self, domain: str, permission: str, label: str | None) -> bool:
        """Tell whether ``domain`` has ``permission`` on packets of ``label``."""
        return permission in self.permissions(domain, label)
