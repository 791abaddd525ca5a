"""The kernel's records of packets: heard, parsed once, and handed to whoever wants them.

Programs decide how many records there are. So no more of a second are parsed than
:data:`PARSED_AT_MOST`; the rest is counted and let go.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from appfwd.core.avc import PacketRecord, parse_packet_record
from appfwd.errors import AppfwdError

log = logging.getLogger(__name__)

#: Records that are parsed within a second: a third of a slow processor's time.
PARSED_AT_MOST = 10_000

Heard = Callable[[Sequence[str]], None]
Lost = Callable[[], None]
Taker = Callable[[PacketRecord], None]


class Ears(Protocol):
    """What hears records, and calls whoever was given to it."""

    def close(self) -> None:
        """Hear no more."""
        ...


class Hearing:
    """Hears records while told to, and gives each that is one of packets to all ``takers``.

    ``clock`` gives seconds that only go forward. ``lost`` counts how often records were lost before
    they came here, ``skipped`` the records that were too many to be parsed.
    """

    def __init__(self, *takers: Taker, clock: Callable[[], float] = time.monotonic) -> None:
        self._takers, self._clock = takers, clock
        self._ears: Ears | None = None
        self._second, self._parsed = 0, 0
        #: Why nothing is heard though it should be, as a sentence; empty where all is well.
        self.deaf = ""
        self.lost = 0
        self.skipped = 0

    def listen(self, ears: Callable[[Heard, Lost], Ears] | None) -> None:
        """Hear records through what ``ears`` opens, or go on hearing; None: hear no more."""
        if ears is None:
            if self._ears is not None:
                self._ears.close()
            self._ears, self.deaf = None, ""
        elif self._ears is None:
            try:
                self._ears, self.deaf = ears(self.heard, self.missed), ""
            except AppfwdError as error:
                self.deaf = f"Nothing is observed, and nobody is asked: {error}"
                log.error("%s", self.deaf)

    def heard(self, texts: Sequence[str]) -> None:
        """Take the texts of records; what is no whole record of a packet is passed by."""
        for text in texts[: self._room(len(texts))]:
            record = parse_packet_record(text)
            if record is not None:
                for take in self._takers:
                    take(record)

    def missed(self) -> None:
        """Say that records were lost on their way here."""
        self.lost += 1

    def _room(self, count: int) -> int:
        """Return how many of some records this second has room for."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._parsed = second, 0
        room = min(count, PARSED_AT_MOST - self._parsed)
        self._parsed += room
        self.skipped += count - room
        return room
