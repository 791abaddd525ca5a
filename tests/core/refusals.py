"""Records of refused packets, as the kernel writes them, and what they come to."""

from __future__ import annotations

from appfwd.core.avc import parse_packet_record
from appfwd.core.baseline import baseline_of
from appfwd.core.denials import Denial, Refusal, denial_of, refusal_of
from appfwd.core.machine import Machine
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import Settings
from tests.core.samples import CONTEXTS, EPHEMERAL, make_policy

CLIENT = 40_000


def text(
    remote: str = "10.0.0.5",
    port: int | None = 443,
    *,
    domain: str = "a_t",
    label: str = "appfwd_new_tcp_t",
    local: int | None = CLIENT,
    sent: bool = True,
    comm: str = '"firefox"',
    verdict: str = "denied",
    serial: int = 1,
) -> str:
    """Return a record of a packet from or to ``remote``."""
    us = "2001:db8::1" if ":" in remote else "192.0.2.1"
    near, far = (us, local), (remote, port)
    (source, sport), (target, dport) = (near, far) if sent else (far, near)

    def told(name: str, number: int | None) -> str:
        return f"{name}={number} " if number else ""

    return (
        f"audit(1000.500:{serial}): avc:  {verdict}  {{ {'send' if sent else 'recv'} }} for  "
        f"pid=7 comm={comm} saddr={source} {told('src', sport)}daddr={target} "
        f"{told('dest', dport)}netif=eth0 scontext=u:r:{domain}:s0 "
        f"tcontext=system_u:object_r:{label}:s0 tclass=packet permissive=0"
    )


def refusal(record: str) -> Refusal:
    """Return the refusal that a record is."""
    parsed = parse_packet_record(record)
    assert parsed is not None, record
    found = refusal_of(parsed)
    assert found is not None, record
    return found


def machine(policy: LoadedPolicy | None = None) -> Machine:
    """Return a machine with a policy."""
    policy = policy or make_policy()
    return Machine(policy, CONTEXTS, EPHEMERAL, baseline_of(policy))


def denial(
    record: str, settings: Settings | None = None, policy: LoadedPolicy | None = None
) -> Denial:
    """Return the denial that a record is."""
    return denial_of(refusal(record), machine(policy), settings or Settings())
