"""Times on the command line: how long (30s, 5m, 1h, 7d, or seconds alone), and until when."""

from __future__ import annotations

import argparse
import re
import time
from datetime import datetime, timedelta

from appfwd.errors import shown

#: Seconds that a trial, and a grant with an end, may last; the daemon holds the same bounds.
LONGEST, LONGEST_GRANT = 24 * 60 * 60, 3650 * 24 * 60 * 60
_SHAPE = re.compile(r"([0-9]{1,9})([smhd]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?", re.ASCII)
_FORMS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d")


def parse_duration(text: str) -> int:
    """Return the seconds of a trial that ``text`` means.

    Raises:
        argparse.ArgumentTypeError: it is of another form, or not within a second and a day.

    """
    return _seconds(text, LONGEST, "24h")


def parse_length(text: str) -> int:
    """Return the seconds of a grant that ``text`` means.

    Raises:
        argparse.ArgumentTypeError: it is of another form, or not within a second and ten years.

    """
    return _seconds(text, LONGEST_GRANT, "3650d")


def parse_until(text: str, now: float | None = None) -> float:
    """Return the Unix time that ``text`` means by the local clock: a time of day is the next such.

    Raises:
        argparse.ArgumentTypeError: it is of another form, or has passed.

    """
    here = datetime.fromtimestamp(time.time() if now is None else now).astimezone()
    then = _next(text, here) if _CLOCK.fullmatch(text) else _day(text)
    if then is None:
        msg = f"{shown(text)} is no time; write it like 18:00, '2030-12-24 18:00' or 2030-12-24"
        raise argparse.ArgumentTypeError(msg)
    if then.timestamp() <= here.timestamp():
        msg = f"{shown(text)} has passed"
        raise argparse.ArgumentTypeError(msg)
    return then.timestamp()


def _next(text: str, here: datetime) -> datetime | None:
    try:
        clock = datetime.strptime(text, "%H:%M" if text.count(":") == 1 else "%H:%M:%S").time()  # noqa: DTZ007
    except ValueError:
        return None
    # Without a zone, and only then with the local one, so that a change of summer time counts.
    today = datetime.combine(here.date(), clock)
    later = today if today.astimezone() > here else today + timedelta(days=1)
    return later.astimezone()


def _day(text: str) -> datetime | None:
    for form in _FORMS:
        try:
            return datetime.strptime(text, form).astimezone()
        except (ValueError, OverflowError, OSError):
            continue
    return None


def _seconds(text: str, longest: int, name: str) -> int:
    match = _SHAPE.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= longest:
        msg = f"{shown(text)} is no time from 1s to {name}; write it like 30s, 5m or 1h"
        raise argparse.ArgumentTypeError(msg)
    return seconds
