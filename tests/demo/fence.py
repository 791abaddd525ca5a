"""A program may go only where it was let: a fence, a grant for a while, and why."""

import time

from .main_job import GREETING, PORT, curl
from .stage import Stage

PROXY, OTHER = "10.9.0.5", "10.9.0.6"
PLACE = f"{PROXY}:{PORT}"
#: Seconds that the grant lasts; the daemon looks twice in a second, and a guest is slow.
GRANTED, LATE = 20, 5.0


def fence(stage: Stage) -> None:
    """Fence, refused, granted for a while, explained, ended, unfenced."""
    probe = stage.guest.probe
    for address in (PROXY, OTHER, "fd09::5"):
        probe.serve((address, PORT), netns="peer", greeting=GREETING)
        probe.serve((address, PORT), kind="udp", netns="peer")
    probe.serve((PROXY, 53), kind="udp", netns="peer")
    probe.serve(("127.0.0.1", PORT), domain="squid_t", greeting=GREETING)
    stage.say("A real SELinux kernel, enforcing: a browser goes wherever it likes")
    stage.command("getenforce", says="Enforcing")
    for host in (PROXY, OTHER):
        stage.program("mozilla_t", curl(host), f"curl to {host}", reaches=True)
    stage.say("Fence it: it goes nowhere; other domains go where they went")
    stage.command("appfwctl fence mozilla_t")
    for host in (PROXY, OTHER):
        stage.program("mozilla_t", curl(host), f"curl to {host}", reaches=False)
        stage.program("chromium_t", curl(host), f"curl to {host}", reaches=True)
    _everywhere(stage, "ECONNREFUSED")
    stage.program("mozilla_t", curl("127.0.0.1"), "curl to loopback", reaches=True)
    outcome = probe.reach("mozilla_t", (PROXY, 53), kind="udp")
    stage.probe("mozilla_t asks a name server", outcome, "ok")
    stage.command(f"appfwctl explain mozilla_t {PLACE}", status=20, says="fenced")
    _for_a_while(stage)
    stage.say("Unfence it: it is as it was")
    stage.command("appfwctl unfence mozilla_t")
    stage.program("mozilla_t", curl(OTHER), f"curl to {OTHER}", reaches=True)
    _everywhere(stage, "ok")
    stage.command(f"appfwctl explain mozilla_t {PLACE}", says="allowed")


def _everywhere(stage: Stage, wanted: str) -> None:
    """Try the other family and the other protocol."""
    for kind, host in (("udp", PROXY), ("tcp", "fd09::5"), ("udp", "fd09::5")):
        outcome = stage.guest.probe.reach("mozilla_t", (host, PORT), kind=kind)
        stage.probe(f"mozilla_t to {host} by {kind}", outcome, wanted)


def _for_a_while(stage: Stage) -> None:
    stage.say(f"Let it go to one place for {GRANTED} seconds, with a connection that stays open")
    stage.command(f"appfwctl grant --for {GRANTED}s mozilla_t {PLACE}", says="for 20s")
    stage.program("mozilla_t", curl(PROXY), f"curl to {PROXY}", reaches=True)
    stage.program("mozilla_t", curl(OTHER), f"curl to {OTHER}", reaches=False)
    stage.command(f"appfwctl explain mozilla_t {PLACE}", says="allowed")
    stage.command("appfwctl list", says="until ")
    (row,) = stage.entries("grant")
    socket = stage.guest.probe.open("mozilla_t", (PROXY, PORT)).opened()
    socket.receive()
    while socket.echo(seconds=0.5).ok and stage.now() < row["ends"] + LATE:
        time.sleep(0.2)
    late = stage.now() - row["ends"]
    text = f"the open connection stopped {late:.1f} s after the end of the grant"
    stage.probe(text, "in time" if -1 < late < LATE else "not in time", "in time")
    stage.program("mozilla_t", curl(PROXY), f"curl to {PROXY}", reaches=False)
    stage.command("appfwctl list", says="ended ")
