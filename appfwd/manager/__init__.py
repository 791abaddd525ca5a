"""What the daemon can be asked, as an ordinary object: no bus, no authorisation, plain values."""

from appfwd.manager.answers import Answers
from appfwd.manager.domains import Domains
from appfwd.manager.journal import log_changes
from appfwd.manager.parts import Inside, Parts
from appfwd.manager.queries import Queries
from appfwd.manager.rows import entry_row
from appfwd.manager.unlabelled import Unlabelled
from appfwd.manager.whole import Whole

__all__ = ["Inside", "Manager", "Parts", "entry_row", "log_changes"]


class Manager(Whole, Queries, Domains, Unlabelled, Answers):
    """Parses requests and passes them to the reconciler, or answers from what is in force."""
