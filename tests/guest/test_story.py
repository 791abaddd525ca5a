"""docs/bridge.md, as it is written there."""

import time

from .firewall import ROOT, SECONDS, Firewall
from .lab.guest import Guest
from .story import Command, Try, told

STORY = list(told(ROOT / "docs/bridge.md"))
#: Records take a moment from the kernel to the daemon.
PATIENCE = 60.0


def test_the_story_has_what_it_should() -> None:
    """A story that the reader above does not understand would pass as an empty one."""
    commands = [part.line for part in STORY if isinstance(part, Command)]
    assert len(commands) >= 10
    assert all(line.startswith("appfwctl ") for line in commands)
    assert {part.reaches for part in STORY if isinstance(part, Try)} == {True, False}


def test_from_an_open_bridge_to_a_closed_one(firewall: Firewall, guest: Guest) -> None:
    for port in (80, 443, 9999):
        guest.probe.serve(("10.9.0.5", port), netns="peer")
    for part in STORY:
        if isinstance(part, Command):
            _run(guest, part)
        else:
            outcome = guest.probe.reach(part.domain, (part.host, part.port))
            assert outcome == ("ok" if part.reaches else "ECONNREFUSED"), part
    assert firewall.json("status")["Problem"] == ""


def _run(guest: Guest, command: Command) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        result = guest.run(command.line, timeout=SECONDS)
        assert result.rc == 0, result
        missing = command.missing(result.out)
        if not missing or time.monotonic() > until:
            break
        assert command.line.startswith("appfwctl observed"), (command.line, result.out, missing)
        time.sleep(1)
    assert not missing, (command.line, result.out)
