"""Forged and damaged records, 100,000 of them: none stops the hearing, none names another.

What a local program controls of a record is its name (``comm``), and by its traffic the addresses
and ports. What reaches the netlink group from others than the kernel is not read at all
(tests/adapters/test_audit.py); here the kernel's own messages come whole, cut, and with any byte
changed.
"""

from __future__ import annotations

import random
import struct

from appfwd.adapters.audit import AUDIT_AVC, avc_texts
from appfwd.core.avc import PacketRecord
from appfwd.core.denials import denial_of, refusal_of
from appfwd.core.questions import Questions
from appfwd.listening.hearing import Hearing
from appfwd.model.destination import parse_destination
from appfwd.model.domain import parse_domain
from appfwd.model.observation import Seen
from appfwd.model.request import harmless
from appfwd.model.state import Settings
from tests.core.refusals import machine, text
from tests.core.samples import make_policy

MACHINE, SETTINGS = machine(make_policy()), Settings()
ROUNDS = 50_000
#: Pieces that a forger would like to have believed.
LIES = (
    b" scontext=u:r:b_t:s0",
    b'" scontext=u:r:b_t:s0 tcontext=u:r:x_t:s0 tclass=packet',
    b"}",
    b"\n",
    b"\x00",
    b"audit(1.000:1): avc:  denied  { send } for  pid=1 ",
    b'comm="x"',
    b"=",
    b"  ",
    b"daddr=10.9.9.9",
    b"dest=22",
    b"granted",
    b"\xff\xfe",
    b"tclass=packet",
    b"permissive=1",
)


class Ear:
    """Takes records, as the daemon does, and keeps what they come to."""

    def __init__(self) -> None:
        self.hearing = Hearing(self.take, clock=iter(range(10**9)).__next__)
        self.questions = Questions()
        self.heard = 0

    def take(self, record: PacketRecord) -> None:
        self.heard += 1
        refusal = refusal_of(record)
        if refusal is None:
            return
        denial = denial_of(refusal, MACHINE, SETTINGS)
        one = denial.observation
        # Whatever it is, it is of the grammars: nothing else goes on from here.
        assert parse_domain(one.domain) == one.domain
        assert parse_destination(str(one.destination), one.destination.direction) == one.destination
        assert harmless(record.comm).isprintable()
        if denial.askable:
            self.questions.denied(Seen(one, 1, record.time, record.time), record.comm, record.time)

    def datagram(self, data: bytes) -> None:
        self.hearing.heard(avc_texts(data))


def message(payload: bytes, kind: int = AUDIT_AVC, length: int | None = None) -> bytes:
    size = 16 + len(payload) if length is None else length
    return struct.pack("=IHHII", size & 0xFFFFFFFF, kind, 0, 0, 0) + payload


def named(chance: random.Random) -> str:
    """Return a program's name as the kernel writes it (audit_log_untrustedstring): any 15 bytes."""
    name = b"".join(chance.choice((*LIES, chance.randbytes(3))) for _ in range(3))[:15]
    name = name.split(b"\0")[0] or b"x"
    if any(byte < 0x21 or byte > 0x7E or byte == 0x22 for byte in name):
        return name.hex().upper()
    return f'"{name.decode()}"'


def test_a_programs_name_makes_no_record_of_another_domain() -> None:
    chance, ear = random.Random(1), Ear()  # noqa: S311 - the same each time
    for n in range(ROUNDS):
        record = text(f"10.0.{n >> 8 & 255}.{n & 255}", comm=named(chance))
        ear.datagram(message(record.encode()))
    assert ear.heard == ROUNDS, "each is a record of the kernel's form"
    assert {one.observation.domain for one in ear.questions.all()} == {"a_t"}


def damaged(chance: random.Random, record: bytes) -> bytes:
    """Return a record with bytes changed, cut out, put in, or put twice."""
    data = bytearray(record)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                del data[at:]
            case 1:
                del data[at : at + chance.randint(1, 30)]
            case 2:
                data[at:at] = chance.choice(LIES)
            case 3:
                data[at : at + 1] = chance.randbytes(1)
            case 4:
                data[at:at] = data[: chance.randint(1, 200)]
    return bytes(data)


def test_damage_makes_no_question_of_another_domain() -> None:
    """Of the domains that there are; a name that is damaged is of none, and is not asked about."""
    chance, ear = random.Random(2), Ear()  # noqa: S311
    whole = [text(n, comm=named(chance)).encode() for n in ("10.0.0.5", "2001:db8::7")]
    for _ in range(ROUNDS):
        payload = damaged(chance, chance.choice(whole))
        length = chance.choice((None, None, 0, 15, 16, 1 << 31, len(payload), 0xFFFFFFFF))
        ear.datagram(message(payload, length=length) + chance.randbytes(chance.randrange(20)))
    others = {one.observation.domain for one in ear.questions.all()} & {"b_t", "c_t"}
    assert not others
    before = ear.heard
    ear.datagram(message(whole[0]))
    assert ear.heard == before + 1, "it hears on"
