"""Names of domains, and what the loaded policy says of them."""

from __future__ import annotations

import difflib
import re

from appfwd.errors import InvalidDomain, UnknownDomain, shown
from appfwd.model.policy import LoadedPolicy

MAX_LENGTH = 128
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)


def parse_domain(text: str) -> str:
    """Return ``text`` where it can be the name of an SELinux type.

    Raises:
        InvalidDomain: it cannot; nothing of it reaches policy.

    """
    if len(text) > MAX_LENGTH:
        msg = f"A domain's name of {len(text)} characters is too long (at most {MAX_LENGTH})."
        raise InvalidDomain(msg)
    if not _NAME.fullmatch(text):
        msg = (
            f"{shown(text)} cannot be the name of a domain: letters, digits, '_', '.' and '-' "
            "only, as in mozilla_t ('ps -eZ' shows the domains that run)."
        )
        raise InvalidDomain(msg)
    return text


def known_domain(name: str, policy: LoadedPolicy) -> str:
    """Return the type that ``name`` (or its alias) means in ``policy``.

    Raises:
        UnknownDomain: no such type, or one of no process; the message has near names.

    """
    name = policy.aliases.get(name, name)
    if name in policy.domains:
        return name
    if name in policy.attributes:
        msg = (
            f"{shown(name)} is an attribute, which stands for many domains; "
            f"name one domain ('seinfo -a {name} -x' lists them)."
        )
    elif name in policy.types:
        msg = f"{shown(name)} is a type, but of no process: grants are for domains."
    else:
        msg = f"The loaded policy has no domain {shown(name)}.{_near(name, policy)}"
    raise UnknownDomain(msg)


def _near(name: str, policy: LoadedPolicy) -> str:
    near = difflib.get_close_matches(name, sorted(policy.domains), n=3, cutoff=0.6)
    return f" Near names: {', '.join(near)}." if near else " 'ps -eZ' shows the domains that run."


def is_packet_type(type_name: str) -> bool:
    """Tell whether ``type_name`` is a packet type of appfwd's (all are named alike)."""
    return type_name.startswith("appfwd_") and type_name.endswith("_packet_t")
