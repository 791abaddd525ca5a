"""Which denials a person is asked about: coalesced, and bounded whatever programs do.

A question is of a domain and a place, and its id is a digest of both: an answer can be to nothing
else than what was shown. Of a domain few are kept and fewer are open before a person at once; what
finds no room is counted with the others. However full it is, a domain that has none gets one. A
question that is not answered stays, and is asked anew once the program still tries after a while;
after a Block the domain is quiet for a while.

No clock: every call tells the time (Unix time, in seconds).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from appfwd.model.addresses import AddressRange, Family
from appfwd.model.destination import Destination
from appfwd.model.observation import Observation, Seen
from appfwd.model.request import Request
from appfwd.model.services import Service

#: Questions kept, of all domains and of one.
KEPT_AT_MOST, KEPT_OF_ONE = 512, 32
#: Questions open before a person at once, of all domains and of one; and for how long one counts
#: as open that nobody answers.
OPEN_AT_MOST, OPEN_OF_ONE, OPEN_FOR = 12, 3, 60.0
#: Questions of a domain of which one can make room for a domain that has none.
_MANY = 2
#: A question of which nothing was heard for so long makes room for new ones.
STALE = 300.0
#: A question is asked anew after so long, while the program still tries.
AGAIN = 300.0
#: Nothing new is asked of a domain for so long after something of it was blocked.
QUIET = 30.0
#: A question that was not answered for so long is dropped.
EXPIRES = 86_400.0
#: Other places of the domain that a question shows.
OTHERS_SHOWN = 5
#: The network of an address, where the whole network is to be allowed: prefix lengths.
_PREFIX = {Family.IPV4: 24, Family.IPV6: 64}
_BITS = {Family.IPV4: 32, Family.IPV6: 128}


@dataclass(slots=True, eq=False)
class Question:
    """What is asked, or waits to be. Times are Unix times; ``asked`` is None until it is asked."""

    id: str
    observation: Observation
    count: int
    first: float
    last: float
    program: str
    asked: float | None = None
    answering: bool = False
    #: What the peer is called; None while nobody has looked.
    name: str | None = None


@dataclass(slots=True)
class _OfDomain:
    """What is known of a domain beside its questions."""

    questions: dict[str, Question] = field(default_factory=dict)
    #: Places that found no room, the latest last, and how many there were.
    others: deque[str] = field(default_factory=lambda: deque(maxlen=OTHERS_SHOWN))
    beyond: int = 0
    blocked: float | None = None


def id_of(observation: Observation) -> str:
    """Return the id of the question about a domain and a place."""
    place = observation.destination
    text = f"{observation.domain}\0{place.direction.value}\0{place}"
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def scopes(place: Destination) -> dict[str, Destination]:
    """Return what can be answered for instead of one place: its host, port and network."""
    found = {"place": place}
    if place.peer is None:
        return found
    everything = Service()
    found["host"] = Destination(place.direction, place.peer, everything)
    if place.service != everything:
        found["port"] = Destination(place.direction, None, place.service)
    found["network"] = Destination(place.direction, _network(place.peer), everything)
    return found


def _network(peer: AddressRange) -> AddressRange:
    size = 1 << (_BITS[peer.family] - _PREFIX[peer.family])
    first = peer.first - peer.first % size
    return AddressRange(peer.family, first, first + size - 1)


class Questions:
    """All questions, by domain."""

    def __init__(self) -> None:
        self._domains: dict[str, _OfDomain] = {}
        self._by_id: dict[str, Question] = {}
        self._asked: dict[str, Question] = {}
        self._full_until = 0.0
        #: Questions that made room for others since somebody looked.
        self.evicted: list[Question] = []

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, identity: str) -> Question | None:
        """Return the question of an id."""
        return self._by_id.get(identity)

    def all(self) -> list[Question]:
        """Return every question, the oldest first."""
        return sorted(self._by_id.values(), key=lambda one: (one.first, one.id))

    def denied(self, seen: Seen, program: str, now: float) -> Question | None:
        """Count denials of a place; return the question about it, None where it found no room."""
        question = self._by_id.get(id_of(seen.observation))
        if question is None:
            question = self._made(seen, now)
            if question is None:
                return None
        question.count += seen.count
        question.last, question.program = min(max(question.last, seen.last), now), program
        return question

    def following(self, domain: str, now: float) -> list[Question]:
        """Open, and return, questions of a domain that wait to be asked and were denied lately."""
        known = self._domains.get(domain)
        waiting = known.questions.values() if known else ()
        fresh = [one for one in waiting if one.asked is None and one.last > now - OPEN_FOR]
        return [one for one in fresh if self.opens(one, now)]

    def domains(self) -> list[str]:
        """Return the domains that there are questions of."""
        return [domain for domain, known in self._domains.items() if known.questions]

    def open(self, now: float) -> list[Question]:
        """Return the questions that are before a person."""
        for one in [one for one in self._asked.values() if not _is_open(one, now)]:
            del self._asked[one.id]
        return list(self._asked.values())

    def drop(self, question: Question) -> None:
        """Forget a question."""
        if self._by_id.pop(question.id, None) is not None:
            self._asked.pop(question.id, None)
            known = self._domains[question.observation.domain]
            del known.questions[question.id]

    def covered(self, domain: str, places: Iterable[Destination]) -> list[Question]:
        """Return the questions of a domain about what some places hold."""
        known = self._domains.get(domain)
        held = tuple(places)
        return [
            one
            for one in (known.questions.values() if known else ())
            if any(place.contains(one.observation.destination) for place in held)
        ]

    def blocked(self, domain: str, now: float) -> None:
        """Keep quiet about a domain for a while."""
        if domain in self._domains:
            self._domains[domain].blocked = now

    def expired(self, now: float) -> list[Question]:
        """Return the questions that nobody answered for long; forget domains without any."""
        for domain in [d for d, known in self._domains.items() if not known.questions]:
            if not _within(self._domains[domain].blocked, now, QUIET):
                del self._domains[domain]
        return [one for one in self._by_id.values() if one.last < now - EXPIRES]

    def request(self, question: Question) -> Request:
        """Return a question as it is shown."""
        place, known = question.observation.destination, self._domains[question.observation.domain]
        others = (one for one in known.questions.values() if one is not question)
        beside = [str(one.observation.destination) for one in others]
        wider = {name: str(one) for name, one in scopes(place).items()}
        return Request(
            id=question.id,
            domain=question.observation.domain,
            direction=place.direction.value,
            destination=str(place),
            peer="" if place.peer is None else str(place.peer),
            program=question.program,
            name=question.name or "",
            count=question.count,
            first=question.first,
            last=question.last,
            others=tuple([*known.others, *beside][-OTHERS_SHOWN:]),
            others_count=len(beside) + known.beyond,
            host=wider.get("host", ""),
            port=wider.get("port", ""),
            network=wider.get("network", ""),
        )

    def _made(self, seen: Seen, now: float) -> Question | None:
        observation = seen.observation
        known = self._domains.setdefault(observation.domain, _OfDomain())
        room = self._has_room(known.questions, KEPT_OF_ONE, now) and (
            self._has_any_room(now) or (not known.questions and self._takes_room())
        )
        if not room:
            known.others.append(str(observation.destination))
            known.beyond += 1
            return None
        first = min(seen.first, now)
        question = Question(id_of(observation), observation, 0, first, first, "")
        known.questions[question.id] = self._by_id[question.id] = question
        return question

    def _has_any_room(self, now: float) -> bool:
        if len(self._by_id) >= KEPT_AT_MOST and now < self._full_until <= now + STALE:
            return False
        found = self._has_room(self._by_id, KEPT_AT_MOST, now)
        if not found:  # so that a storm does not search all of them for each denial
            self._full_until = min(one.last for one in self._by_id.values()) + STALE
        return found

    def _has_room(self, among: dict[str, Question], at_most: int, now: float) -> bool:
        """Tell whether one more has room, after the stalest made room where need be."""
        if len(among) < at_most:
            return True
        stalest = min(among.values(), key=lambda one: one.last)
        if stalest.last >= now - STALE or stalest.answering:
            return False
        self.drop(stalest)
        self.evicted.append(stalest)
        return True

    def _takes_room(self) -> bool:
        """Take the place of the domain that has most, for one that has none; tell whether it did.

        What nobody was asked yet goes, the newest first.
        """
        most = max(self._domains.values(), key=lambda known: len(known.questions))
        waiting = [q for q in most.questions.values() if q.asked is None and not q.answering]
        if len(most.questions) < _MANY or not waiting:
            return False
        self.drop(waiting[-1])
        self.evicted.append(waiting[-1])
        most.others.append(str(waiting[-1].observation.destination))
        most.beyond += 1
        return True

    def opens(self, question: Question, now: float) -> bool:
        """Open a question before a person, where that may be; tell whether it was."""
        known = self._domains[question.observation.domain]
        if question.answering or _within(known.blocked, now, QUIET):
            return False
        if _within(question.asked, now, AGAIN):
            return False
        open_ones = self.open(now)
        of_one = sum(one.observation.domain == question.observation.domain for one in open_ones)
        if len(open_ones) >= OPEN_AT_MOST or of_one >= OPEN_OF_ONE:
            return False
        question.asked = now
        self._asked[question.id] = question
        return True


def _is_open(question: Question, now: float) -> bool:
    return _within(question.asked, now, OPEN_FOR)


def _within(since: float | None, now: float, seconds: float) -> bool:
    """Tell whether something was no longer ago. A time to come, of a clock set back, was not."""
    return since is not None and since <= now < since + seconds
