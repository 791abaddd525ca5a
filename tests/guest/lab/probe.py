"""Sockets of any domain in a guest, without a program of that domain.

The label of a socket decides what its packets may do, and the agent may give its sockets any label.
An outcome is "ok", the name of an errno such as "ECONNREFUSED", or "TIMEOUT" if nothing happened.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .agent.wire import Fields, pack

Address = tuple[str, int]
Ask = Callable[..., Fields]

PROBE_SECONDS = 3.0
SLACK_SECONDS = 60.0
BURST_SECONDS = 300.0


def context_of(domain: str) -> str:
    """Return the context of a domain's socket; a full context, or "" for the agent's, stays."""
    return f"unconfined_u:unconfined_r:{domain}:s0" if domain and ":" not in domain else domain


@dataclass(frozen=True)
class Attempt:
    """How a socket action went, and how long it took in the guest."""

    outcome: str
    seconds: float
    data: bytes = b""
    socket: "ProbeSocket | None" = None

    @property
    def ok(self) -> bool:
        """True if it went well."""
        return self.outcome == "ok"

    def opened(self) -> "ProbeSocket":
        """Return the socket; AssertionError if there is none."""
        assert self.socket is not None, f"not opened: {self.outcome}"
        return self.socket


@dataclass(frozen=True)
class Burst:
    """What became of many datagrams."""

    outcomes: dict[str, int]
    """How many ended with each outcome."""
    arrived: int
    """How many came to the server that was named."""
    seconds: float

    @property
    def passed(self) -> int:
        """How many the kernel took."""
        return self.outcomes.get("ok", 0)


@dataclass(frozen=True)
class ServerState:
    """What a server has seen."""

    connections: int
    """Connections, or datagrams, that came."""
    messages: int
    octets: int
    peers: tuple[Address, ...]
    """The newest hundred."""


class ProbeSocket:
    """A socket kept open in the guest."""

    def __init__(self, ask: Ask, number: int, local: Address) -> None:
        self._ask = ask
        self.number = number
        self.local = local

    def send(
        self, data: bytes, target: Address | None = None, *, seconds: float = PROBE_SECONDS
    ) -> Attempt:
        """Send to the peer, or to a target."""
        return self._act("send", seconds, data=pack(data), target=target)

    def receive(self, limit: int = 65536, *, seconds: float = PROBE_SECONDS) -> Attempt:
        """Receive what comes first; the attempt has the data, none of it being the end."""
        return self._act("receive", seconds, limit=limit)

    def echo(self, data: bytes = b"ping", *, seconds: float = PROBE_SECONDS) -> Attempt:
        """Send, and receive as much again; EOF if the peer closed instead."""
        sent = self.send(data, seconds=seconds)
        if not sent.ok:
            return sent
        got, spent = b"", sent.seconds
        while len(got) < len(data):
            answer = self.receive(seconds=seconds)
            spent += answer.seconds
            if not answer.ok or not answer.data:
                return Attempt("EOF" if answer.ok else answer.outcome, spent, got)
            got += answer.data
        return Attempt("ok", spent, got)

    def close(self) -> None:
        """Close it."""
        self._ask("close", socket=self.number)

    def _act(self, operation: str, seconds: float, **fields: object) -> Attempt:
        return _attempt(
            self._ask(
                operation,
                seconds=seconds + SLACK_SECONDS,
                socket=self.number,
                timeout=seconds,
                **fields,
            )
        )


class ProbeServer:
    """A server in the guest's background."""

    def __init__(self, ask: Ask, number: int, address: Address) -> None:
        self._ask = ask
        self.number = number
        self.address = address

    def state(self) -> ServerState:
        """Return what it has seen so far."""
        reply = self._ask("server_state", server=self.number)
        peers = [peer for peer in reply.items("peers") if isinstance(peer, list)]
        return ServerState(
            connections=reply.integer("connections"),
            messages=reply.integer("messages"),
            octets=reply.integer("octets"),
            peers=tuple((str(peer[0]), int(peer[1])) for peer in peers),
        )

    def send(self, data: bytes, target: Address | None = None) -> Attempt:
        """Speak first: UDP to a target; TCP on the newest connection, or that from a target."""
        return _attempt(
            self._ask("server_send", server=self.number, data=pack(data), target=target)
        )

    def close(self) -> None:
        """Stop it and close its connections."""
        self._ask("server_close", server=self.number)


class Probe:
    """A guest's sockets of any domain. `netns` names a network namespace; "" is the main one."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def open(
        self,
        domain: str,
        target: Address | None = None,
        *,
        kind: str = "tcp",
        bind: Address | None = None,
        netns: str = "",
        seconds: float = PROBE_SECONDS,
    ) -> Attempt:
        """Open a socket, `kind` tcp or udp, bind it and connect it; kept if that went well."""
        reply = self._ask(
            "open",
            seconds=seconds + SLACK_SECONDS,
            context=context_of(domain),
            family=_family(target or bind),
            kind=kind,
            bind=bind,
            target=target,
            netns=netns,
            timeout=seconds,
        )
        kept = None
        if reply.has("socket"):
            local = reply.address("local") or ("", 0)
            kept = ProbeSocket(self._ask, reply.integer("socket"), local)
        return Attempt(reply.text("outcome"), reply.number("seconds"), socket=kept)

    def reach(
        self,
        domain: str,
        target: Address,
        *,
        kind: str = "tcp",
        netns: str = "",
        seconds: float = PROBE_SECONDS,
    ) -> str:
        """Try to get an echo from a server, on a socket of its own; return the outcome."""
        attempt = self.open(domain, target, kind=kind, netns=netns, seconds=seconds)
        if attempt.socket is None:
            return attempt.outcome
        outcome = attempt.socket.echo(seconds=seconds).outcome
        attempt.socket.close()
        return outcome

    def ping(
        self, domain: str, address: str, *, netns: str = "", seconds: float = PROBE_SECONDS
    ) -> Attempt:
        """Send an ICMP or ICMPv6 echo request on a raw socket, and wait for the answer."""
        target = (address, 0)
        return _attempt(
            self._ask(
                "ping",
                seconds=seconds + SLACK_SECONDS,
                context=context_of(domain),
                family=_family(target),
                target=target,
                netns=netns,
                timeout=seconds,
            )
        )

    def serve(
        self,
        address: Address,
        *,
        domain: str = "",
        kind: str = "tcp",
        netns: str = "",
        echo: bool = True,
        greeting: bytes = b"",
    ) -> ProbeServer:
        """Start a server, which listens when this returns; port 0 is any free one.

        RequestError if it can't be bound. A TCP server greets each connection. A UDP server on a
        wildcard address answers from the interface's first address, whichever it was asked on.
        """
        reply = self._ask(
            "serve",
            context=context_of(domain),
            family=_family(address),
            kind=kind,
            bind=address,
            netns=netns,
            echo=echo,
            greeting=pack(greeting),
        )
        bound = (address[0], reply.integer("port"))
        return ProbeServer(self._ask, reply.integer("server"), bound)

    def burst(
        self,
        domain: str,
        target: Address,
        count: int,
        *,
        data: bytes = b"x",
        fresh: bool = False,
        on: ProbeSocket | None = None,
        server: ProbeServer | None = None,
        netns: str = "",
    ) -> Burst:
        """Send many datagrams: on one socket, or each on a fresh one, or on a kept one.

        With `server`, arrivals there are counted until all are there or no more come.
        """
        reply = self._ask(
            "burst",
            seconds=BURST_SECONDS,
            context=context_of(domain),
            family=_family(target),
            kind="udp",
            target=None if on else target,
            count=count,
            data=pack(data),
            fresh=fresh,
            socket=on.number if on else None,
            server=server.number if server else None,
            netns=netns,
        )
        counts = reply.table("outcomes")
        outcomes = {name: counts.integer(name) for name in counts.values}
        return Burst(outcomes, reply.integer("arrived"), reply.number("seconds"))


def _family(address: Address | None) -> int:
    return 6 if address is not None and ":" in address[0] else 4


def _attempt(reply: Fields) -> Attempt:
    return Attempt(reply.text("outcome"), reply.number("seconds"), reply.data("data"))
