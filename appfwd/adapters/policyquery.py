"""Questions to the loaded policy, asked with setools in a process of their own.

setools reads the whole policy (50 MB, holding the GIL for half a second or more), so it runs as a
program that prints JSON and ends: ``python3 -m appfwd.adapters.policyquery UNLABELED BRIDGE``.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import logging
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from appfwd.errors import PolicyUnsupported, SelinuxDisabled
from appfwd.model.domain import is_packet_type
from appfwd.model.policy import LoadedPolicy, Rights

log = logging.getLogger(__name__)

#: Of the answer's form; an answer of another version is not taken.
VERSION = "1"

_POLICY = "/sys/fs/selinux/policy"
_DOMAIN = "domain"
_PERMISSIONS = ("send", "recv")


class PolicyQuery:
    """Reads the loaded policy through the program below.

    ``cache`` is a file that keeps the last answer with the digest of the policy that it is of, so
    that a start with the same policy, every boot mostly, asks nothing.
    """

    def __init__(
        self, unlabeled: str, bridge: str, policy: str = _POLICY, cache: Path | None = None
    ) -> None:
        self._arguments = (unlabeled, bridge, policy)
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
        answer = await self._ask()
        self._remember(digest, answer)
        return _decode(answer)

    def _digest(self) -> str:
        """Return what tells one loaded policy (and the state of its booleans) from another."""
        try:
            policy = Path(self._arguments[2]).read_bytes()
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

    async def _ask(self) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(["-I"] if sys.flags.isolated else []),
            "-m",
            __spec__.name,
            *self._arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode:
            log.error("the policy cannot be read: %s", errors.decode("utf-8", "replace")[-2000:])
            if process.returncode == 3:
                msg = "The kernel has no SELinux policy to read; is SELinux on?"
                raise SelinuxDisabled(msg)
            msg = "The loaded policy cannot be read; is python3-setools of this system intact?"
            raise PolicyUnsupported(msg)
        answer: dict[str, Any] = json.loads(output)
        return answer


def _decode(answer: Mapping[str, Any]) -> LoadedPolicy:
    def rights(value: Mapping[str, list[str]]) -> Rights:
        return Rights(*(frozenset(value[p]) for p in _PERMISSIONS))

    return LoadedPolicy(
        domains=frozenset(answer["domains"]),
        attributes=frozenset(answer["attributes"]),
        types=frozenset(answer["types"]),
        aliases=answer["aliases"],
        packet_rights={name: rights(value) for name, value in answer["packet_rights"].items()},
        unlabeled=rights(answer["unlabeled"]),
        bridge=answer["bridge"],
    )


def query(unlabeled: str, bridge: str, path: str) -> dict[str, Any]:
    """Return the answer as plain JSON values. ``bridge`` is the attribute of our bridge's rule."""
    setools = _setools()
    policy = setools.SELinuxPolicy(path)
    types = {str(t): t for t in policy.types()}
    attributes = {str(a): a for a in policy.typeattributes()}
    domains = sorted(map(str, attributes[_DOMAIN].expand())) if _DOMAIN in attributes else []
    ours = {name for name in types if is_packet_type(name)}
    by_any_rule: dict[str, dict[str, set[str]]] = {
        name: {p: set() for p in _PERMISSIONS} for name in ours
    }
    by_rules_now: dict[str, set[str]] = {p: set() for p in _PERMISSIONS}
    bridged = False
    for rule, sources, targets in _packet_rules(policy, setools, ours | {unlabeled}):
        if str(rule.source) == bridge and unlabeled in targets:
            bridged = True
            targets = targets - {unlabeled}  # noqa: PLW2901
        permissions = [p for p in _PERMISSIONS if p in rule.perms]
        for target in targets:
            for permission in permissions:
                if target != unlabeled:
                    by_any_rule[target][permission] |= sources
                elif _holds(rule):
                    by_rules_now[permission] |= sources
    return {
        "domains": domains,
        "attributes": sorted(attributes),
        "types": sorted(types),
        "aliases": {str(alias): name for name, t in types.items() for alias in t.aliases()},
        "packet_rights": _listed(by_any_rule),
        "unlabeled": {p: sorted(who) for p, who in by_rules_now.items()},
        "bridge": bridged,
    }


def _setools() -> Any:
    """Import setools, which is heavy and wanted in the program only.

    Half of its import is a graph library for analyses that are not made here. Since 4.5 it does
    without where there is none; before, it is imported after all.
    """
    sys.modules["networkx"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("setools")
    except ImportError:
        for name in [m for m in sys.modules if m == "networkx" or m.partition(".")[0] == "setools"]:
            del sys.modules[name]
        return importlib.import_module("setools")


def _packet_rules(
    policy: Any, setools: Any, targets: set[str]
) -> Iterable[tuple[Any, set[str], set[str]]]:
    """Yield allow rules of class packet that concern ``targets``, sources and targets expanded."""
    sources_of: dict[str, set[str]] = {}
    targets_of: dict[str, set[str]] = {}
    allow = setools.TERuletype.allow
    for rule in policy.terules():
        if rule.ruletype is not allow or rule.tclass != "packet":
            continue
        target = str(rule.target)
        if target not in targets_of:
            names = set(map(str, rule.target.expand()))
            targets_of[target] = names & targets
        if not targets_of[target]:
            continue
        source = str(rule.source)
        if source not in sources_of:
            sources_of[source] = set(map(str, rule.source.expand()))
        yield rule, sources_of[source], targets_of[target]


def _holds(rule: Any) -> bool:
    """Tell whether a rule is unconditional or its booleans have it on now."""
    try:
        conditional = rule.conditional
    except AttributeError:
        return True
    state: bool = conditional.evaluate(**{str(b): b.state for b in conditional.booleans})
    return state is bool(rule.conditional_block)


def _listed(rights: Mapping[str, Mapping[str, set[str]]]) -> dict[str, dict[str, list[str]]]:
    result: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for name, by_permission in rights.items():
        for permission, who in by_permission.items():
            result[name][permission] = sorted(who)
    return result


def main() -> int:
    """Print the answer for the arguments; exit status 3 where the kernel has no policy."""
    try:
        answer = query(*sys.argv[1:4])
    except FileNotFoundError:
        return 3
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
