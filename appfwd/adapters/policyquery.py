"""Questions to the loaded policy, asked by a process of their own.

setools reads the whole policy (50 MB, holding the GIL for half a second or more), so it runs as a
program that prints JSON and ends: appfwd/adapters/policyprogram.py. The names and forms of its
answers are agreed between the two files.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from appfwd.errors import PolicyUnsupported, SelinuxDisabled
from appfwd.model.policy import LoadedPolicy, PacketRule, PortContext, Rights
from appfwd.model.services import Interval
from appfwd.model.slots import Switches

log = logging.getLogger(__name__)

#: Of the answer's form; an answer of another version is not taken.
VERSION = "5"

_PROGRAM = "appfwd.adapters.policyprogram"
#: The program's exit status where there is no policy to read.
_NO_POLICY = 3
_POLICY = "/sys/fs/selinux/policy"


@dataclass(frozen=True)
class Names:
    """What the program must know: names of the policy, and of our module.

    ``unlabeled`` is the type of unlabelled packets, ``loader`` the domain that loads the table;
    ``bridge`` and ``fenced`` are our attributes of the bridge's rule, and of who is fenced.
    """

    unlabeled: str
    bridge: str
    fenced: str
    loader: str


class PolicyQuery:
    """Reads the loaded policy through the program.

    ``cache`` is a file that keeps the last answer
    with the digest of the policy that it is of, so that a start with the same policy, every boot
    mostly, asks nothing.
    """

    def __init__(
        self,
        names: Names,
        policy: str = _POLICY,
        cache: Path | None = None,
    ) -> None:
        self._policy = policy
        self._arguments = (*astuple(names), policy)
        self._cache = cache

    async def read(self) -> LoadedPolicy:
        """Return what the loaded policy says.

        Raises:
            SelinuxDisabled: the kernel has no policy to read.
            PolicyUnsupported: it cannot be read.

        """
        digest = await asyncio.to_thread(self._digest)
        known = self._remembered(digest)
        if known is not None:
            return _decode(known)
        answer: dict[str, Any] = await self._ask("policy", *self._arguments)
        self._remember(digest, answer)
        return _decode(answer)

    async def rules(self, domain: str) -> Sequence[PacketRule]:
        """Return the packet rules that concern ``domain``, booleans that are off included.

        Empty for a domain that the policy does not know. The order is that of the rules' values.

        Raises:
            SelinuxDisabled: the kernel has no policy to read.
            PolicyUnsupported: it cannot be read.

        """
        answer: list[dict[str, Any]] = await self._ask("rules", domain, self._policy)
        return tuple(
            sorted(
                PacketRule(**{**rule, "permissions": tuple(rule["permissions"])}) for rule in answer
            )
        )

    def _digest(self) -> str:
        """Return what tells one loaded policy (and the state of its booleans) from another."""
        try:
            policy = Path(self._policy).read_bytes()
        except OSError:
            msg = "The kernel has no SELinux policy to read; is SELinux on?"
            raise SelinuxDisabled(msg) from None
        return hashlib.sha256("\0".join((*self._arguments, VERSION)).encode() + policy).hexdigest()

    def _remembered(self, digest: str) -> dict[str, Any] | None:
        if self._cache is None:
            return None
        try:
            kept: dict[str, Any] = json.loads(self._cache.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        answer: dict[str, Any] | None = kept.get("answer")
        return answer if kept.get("digest") == digest else None

    def _remember(self, digest: str, answer: dict[str, Any]) -> None:
        """Keep the answer; where that fails it is asked for again, and nothing is lost."""
        if self._cache is None:
            return
        fresh = self._cache.with_suffix(".new")
        try:
            fresh.write_text(json.dumps({"digest": digest, "answer": answer}), "utf-8")
            fresh.replace(self._cache)
        except OSError as error:
            log.warning("the policy's answer could not be kept: %s", error)

    async def _ask(self, *question: str) -> Any:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(["-I"] if sys.flags.isolated else []),
            "-m",
            _PROGRAM,
            *question,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode:
            log.error("the policy cannot be read: %s", errors.decode("utf-8", "replace")[-2000:])
            if process.returncode == _NO_POLICY:
                msg = "The kernel has no SELinux policy to read; is SELinux on?"
                raise SelinuxDisabled(msg)
            msg = "The loaded policy cannot be read; is python3-setools of this system intact?"
            raise PolicyUnsupported(msg)
        return json.loads(output)


def _decode(answer: Mapping[str, Any]) -> LoadedPolicy:
    types = answer["types"]
    sets = [frozenset(types[number] for number in numbers) for numbers in answer["sets"]]

    def rights(value: tuple[int, int]) -> Rights:
        send, recv = value
        return Rights(sets[send], sets[recv])

    return LoadedPolicy(
        domains=sets[answer["domains"]],
        attributes=frozenset(answer["attributes"]),
        types=frozenset(types),
        aliases=answer["aliases"],
        packet_rights={name: rights(value) for name, value in answer["packet_rights"].items()},
        unlabeled=rights(answer["unlabeled"]),
        bridge=answer["bridge"],
        fenced=sets[answer["fenced"]],
        labels={name: rights(value) for name, value in answer["labels"].items()},
        relabel=frozenset(answer["relabel"]),
        ports=tuple(
            PortContext(protocol, Interval(low, high), port_type)
            for protocol, low, high, port_type in answer["ports"]
        ),
        switches={
            slot: Switches(*(sets[domains].union(others) for domains, others in of))
            for slot, of in answer["switches"].items()
        },
        groups={name: rights(value) for name, value in answer["groups"].items()},
    )
