"""appfwctl with each D-Bus library, as a program."""

from __future__ import annotations

from appfwd.errors import all_errors
from tests.bus.running import Daemon
from tests.bus.samples import PLACE
from tests.cli.conftest import Run


def test_a_story_from_guard_to_revoke(run: Run, daemon: Daemon) -> None:
    steps = [
        (["guard", PLACE], 0, f"guarded: nobody reaches {PLACE} but who is granted it\n"),
        (["grant", "mozilla_t", PLACE], 0, f"granted: {PLACE} to mozilla_t\n"),
        (["explain", "mozilla_t", PLACE], 0, "allowed: "),
        (["explain", "squid_t", PLACE], 20, "denied: "),
        (["explain", "squid_t", "10.0.0.0/8"], 21, "partly: "),
        (["revoke", "mozilla_t", PLACE], 0, f"revoked: {PLACE} from mozilla_t\n"),
        (["unguard", PLACE], 0, f"no longer guarded: {PLACE}\n"),
    ]
    for arguments, status, said in steps:
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (status, "")
        assert done.stdout.startswith(said)
    assert daemon.state()["members"] == []


def test_each_error_has_its_exit_status_and_its_sentence(run: Run, daemon: Daemon) -> None:
    for kind in all_errors():
        daemon.fail("nft", kind.__name__, "It failed; do that.")
        done = run("guard", PLACE)
        assert (done.returncode, done.stdout) == (kind.exit_status, "")
        assert done.stderr == "appfwctl: It failed; do that.\n"


def test_a_user_without_authorisation_is_told_what_to_do(run: Run, daemon: Daemon) -> None:
    with daemon.unchanged():
        done = run("guard", PLACE, uid=65534)
    assert done.returncode == 5
    assert "Run it as root" in done.stderr
