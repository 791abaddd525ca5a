"""Lengths of time on the command line: 30s, 5m, 1h, or seconds alone."""

from __future__ import annotations

import argparse
import re

from appfwd.errors import shown

#: Seconds that a trial may last; the daemon holds the same bounds.
LONGEST = 24 * 60 * 60
_SHAPE = re.compile(r"([0-9]{1,5})([smh]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def parse_duration(text: str) -> int:
    """Return the seconds that ``text`` means.

    Raises:
        argparse.ArgumentTypeError: it is of another form, or not within a second and a day.

    """
    match = _SHAPE.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= LONGEST:
        msg = f"{shown(text)} is no time from 1s to 24h; write it like 30s, 5m or 1h"
        raise argparse.ArgumentTypeError(msg)
    return seconds
