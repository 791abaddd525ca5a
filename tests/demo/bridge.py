"""From an open bridge to a closed one: the story of docs/bridge.md, and a flood that is bounded."""

import time

from tests.guest.firewall import ROOT
from tests.guest.story import Command, told

from .stage import Stage

SERVER = "10.9.0.5"


def bridge(stage: Stage) -> None:
    """Observe, label, grant, close, and go back."""
    guest = stage.guest
    for port in (80, 443, 9999):
        guest.probe.serve((SERVER, port), netns="peer")
    stage.say("Everything without a guard passes, and nothing is known of it")
    stage.command("getenforce; appfwctl status", says="bridge: open")
    stage.say("The story of docs/bridge.md, as it is written there")
    for part in told(ROOT / "docs/bridge.md"):
        if isinstance(part, Command):
            if part.line.startswith("appfwctl observed"):
                time.sleep(2)  # records take a moment
            out = stage.command(part.line)
            missing = part.missing(out)
            stage.probe("says what docs/bridge.md says", str(missing or "yes"), "yes")
        else:
            outcome = guest.probe.reach(part.domain, (part.host, part.port))
            wanted = "ok" if part.reaches else "ECONNREFUSED"
            stage.probe(f"{part.domain} to {part.host}:{part.port}", outcome, wanted)
    stage.say("Strictly closed, even a flushed ruleset lets nothing through")
    stage.command("appfwctl baseline on; appfwctl bridge close --strict")
    stage.command("systemctl stop appfwd; nft flush ruleset; nft list ruleset | wc -l")
    outcome = guest.probe.reach("mozilla_t", (SERVER, 80))
    stage.probe("mozilla_t with no label anywhere", outcome, "ECONNREFUSED")
    stage.command("systemctl start appfwd")
    stage.probe("mozilla_t, labels back", guest.probe.reach("mozilla_t", (SERVER, 80)), "ok")
    stage.command("appfwctl bridge open; appfwctl baseline off; appfwctl status", says="open")
