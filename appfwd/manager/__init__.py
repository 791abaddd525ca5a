"""What the daemon can be asked, as an ordinary object: no bus, no authorisation, plain values."""

from appfwd.manager.domains import Domains
from appfwd.manager.parts import Parts
from appfwd.manager.queries import Queries
from appfwd.manager.rows import entry_row
from appfwd.manager.unlabelled import Unlabelled
from appfwd.manager.whole import Whole

__all__ = ["Manager", "Parts", "entry_row"]


class Manager(Whole, Queries, Domains, Unlabelled):
    """Parses requests and passes them to the reconciler, or answers from what is in force."""
