"""Records of unlabelled traffic as the kernel writes them, and a daemon that heard some."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.bus.running import Daemon

OURS = "192.0.2.7"


def record(
    domain: str,
    peer: str,
    port: int,
    *,
    inbound: bool = False,
    verdict: str = "granted",
    label: str = "appfwd_seen_tcp_t",
) -> str:
    """Return the record of a first TCP packet: sent to ``peer``'s port, or received on ours."""
    there, here = (peer, 40_123), (OURS, port)
    if not inbound:
        there, here = (peer, port), (OURS, 40_123)
    (saddr, src), (daddr, dest) = (there, here) if inbound else (here, there)
    return (
        f"audit({time.time():.3f}:77): avc:  {verdict}  {{ {'recv' if inbound else 'send'} }} for  "
        f'pid=4711 comm="curl" saddr={saddr} src={src} daddr={daddr} dest={dest} netif=eth0 '
        f"scontext=system_u:system_r:{domain}:s0 "
        f"tcontext=system_u:object_r:{label}:s0 tclass=packet"
    )


#: A browser's visits to web servers and to another port, and a login over ssh.
SEEN = (
    record("mozilla_t", "10.0.0.80", 443),
    record("mozilla_t", "10.0.0.81", 8443),
    record("sshd_t", "10.0.0.9", 22, inbound=True),
)


def observe(daemon: Daemon, texts: Sequence[str] = SEEN) -> None:
    """Have the bridge observed, and the kernel write records."""
    with daemon.peer() as root:
        root.call("SetBridge", "observed", {})
    assert daemon.tell("record", texts=list(texts)), "nobody listens"


def refused(domain: str, peer: str, port: int, *, inbound: bool = False) -> str:
    """Return the record of a first TCP packet that a fence refuses."""
    kind = {"verdict": "denied", "label": "appfwd_new_tcp_t"}
    return record(domain, peer, port, inbound=inbound, **kind)


#: Where a fenced browser tries to go.
TRIED = (("10.0.0.80", 443), ("10.0.0.81", 8443))


def deny(daemon: Daemon, texts: Sequence[str] = ()) -> None:
    """Have mozilla_t fenced and the kernel refuse packets; return once that was worked on.

    Without ``texts`` it is refused what it tries now.
    """
    texts = texts or [refused("mozilla_t", *place) for place in TRIED]
    with daemon.peer() as root:
        root.call("Fence", "mozilla_t", {})
    assert daemon.tell("refuse", texts=list(texts)), "nobody listens"
