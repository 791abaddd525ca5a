"""Options of requests: a closed list for each, of fixed types. An unknown key is an error."""

from __future__ import annotations

from collections.abc import Mapping

from appfwd.errors import InvalidOption, shown
from appfwd.model.destination import Direction

#: A page of a list holds at most this many rows; encoding more would hold up everybody else.
PAGE_AT_MOST = 1000


def check_options(options: Mapping[str, object], known: Mapping[str, type]) -> None:
    """Hold ``options`` against the keys and types in ``known``.

    Raises:
        InvalidOption: naming the key, and what there is instead.

    """
    for key, value in options.items():
        if key not in known:
            names = ", ".join(sorted(known)) or "none"
            raise InvalidOption(f"There is no option {shown(key)}; those known here: {names}.")
        wanted = known[key]
        if type(value) is not wanted:
            raise InvalidOption(f"Option {shown(key)} must be of type {wanted.__name__}.")


def direction_of(options: Mapping[str, object]) -> Direction:
    """Return the option ``direction``, ``out`` where it is not given.

    Raises:
        InvalidOption: it is neither ``in`` nor ``out``.

    """
    text = str(options.get("direction", "out"))
    try:
        return Direction(text)
    except ValueError:
        raise InvalidOption(f"Option 'direction' is 'in' or 'out', not {shown(text)}.") from None


def page_of(options: Mapping[str, object]) -> slice:
    """Return the slice that the options ``offset`` and ``limit`` ask for.

    Raises:
        InvalidOption: one of them is negative, or the limit is more than a page holds.

    """
    offset, limit = options.get("offset", 0), options.get("limit", PAGE_AT_MOST)
    assert isinstance(offset, int)  # noqa: S101 - held by check_options
    assert isinstance(limit, int)  # noqa: S101
    if offset < 0 or not 0 < limit <= PAGE_AT_MOST:
        raise InvalidOption(f"'offset' counts from 0, 'limit' goes from 1 to {PAGE_AT_MOST}.")
    return slice(offset, offset + limit)
