"""Asked when it matters: a browser is refused, a person presses a button, it gets through."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from tests.guest.desktop import Desktop

from .main_job import GREETING, PORT, curl
from .stage import Stage

PROXY, OTHER, THIRD = "10.9.0.5", "10.9.0.6", "fd09::5"
ASKS = f"mozilla_t wants to reach {PROXY}:{PORT}/tcp"
PICTURE = Path("build/prompt.png")
PATIENCE = 60.0


def prompt(stage: Stage) -> None:
    """Refused, asked, allowed; blocked; another person at the machine; what is kept."""
    probe, alice = stage.guest.probe, Desktop.find(stage.guest)
    for host in (PROXY, OTHER, THIRD):
        probe.serve((host, PORT), netns="peer", greeting=GREETING)
    stage.say("A real SELinux kernel, enforcing; alice is logged in at the machine")
    stage.command("getenforce", says="Enforcing")
    stage.command(f"loginctl show-session {alice.session} -p Active -p Name", says="Active=yes")
    stage.command("appfwctl fence --yes mozilla_t", says="fenced")
    stage.say("Her browser reaches for a new place: refused at once, and she is asked")
    stage.program("mozilla_t", curl(PROXY), f"curl to {PROXY}", reaches=False)
    _shows(stage, alice, ASKS)
    PICTURE.parent.mkdir(exist_ok=True)
    alice.screenshot(PICTURE)
    stage.probe(
        f"a picture of the screen is in {PICTURE}", str(PICTURE.stat().st_size > 1000), "True"
    )
    stage.command("appfwctl pending", says=f"{PROXY}:{PORT}/tcp")
    stage.say("She presses 'Allow for 10 minutes'; the browser's next try gets through")
    alice.press("Allow for 10 minutes", ASKS)
    _until(stage, "the answer is in force", lambda: bool(stage.entries("grant")))
    stage.program("mozilla_t", curl(PROXY), f"curl to {PROXY}", reaches=True)
    stage.command("appfwctl list", says="until ")
    _block(stage, alice)
    stage.say("In a terminal it is the same: here root answers what is asked, by its id")
    stage.program("mozilla_t", curl(f"[{THIRD}]"), f"curl to {THIRD}", reaches=False)
    _until(stage, "it is asked", lambda: THIRD in _said(stage, "appfwctl pending"))
    (row,) = json.loads(_said(stage, "appfwctl --json pending"))
    stage.command(f"appfwctl answer {row['id'][:6]} allow --boot", says="granted")
    stage.program("mozilla_t", curl(f"[{THIRD}]"), f"curl to {THIRD}", reaches=True)
    stage.command("appfwctl denied --domain mozilla_t", says="fenced, blocked")


def _block(stage: Stage, alice: Desktop) -> None:
    stage.say("Another place: she presses 'Block', and is not asked about it again")
    summary = f"mozilla_t wants to reach {OTHER}:{PORT}/tcp"
    stage.program("mozilla_t", curl(OTHER), f"curl to {OTHER}", reaches=False)
    _shows(stage, alice, summary)
    alice.press("Block", summary)
    _until(stage, "it is blocked", lambda: OTHER in _said(stage, "appfwctl blocked"))
    stage.program("mozilla_t", curl(OTHER), f"curl to {OTHER}", reaches=False)
    stage.probe("she is asked again", str(bool(alice.notifications())), "False")
    stage.command("appfwctl blocked", says=OTHER)


def _shows(stage: Stage, desktop: Desktop, summary: str) -> None:
    """Hold that a notification is shown, and show what it says."""

    def there() -> bool:
        return any(one.summary == summary for one in desktop.notifications())

    _until(stage, "a notification asks", there)
    for one in desktop.notifications():
        print(f"  | {one.summary}")
        for line in one.body.splitlines():
            print(f"  |   {line}")
        print(f"  | {'  '.join(f'[{label}]' for label in one.buttons)}")


def _said(stage: Stage, line: str) -> str:
    return stage.guest.run(line, check=True, timeout=PATIENCE).out


def _until(stage: Stage, text: str, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    stage.probe(text, "yes" if holds() else "no", "yes")
