"""The lab's own desktop: its sessions as polkit sees them, and notifications on a screen."""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from .desktop import Desktop, desktop_snapshot
from .lab.guest import Guest, Process
from .lab.store import Snapshot, restore

ACTIONS = [("ten", "Allow for 10 minutes"), ("always", "Always allow"), ("no", "Block")]
ACTIONS += [("more", "More…")]
#: An action of logind that its policy leaves to whoever is at the seat, and to nobody else.
AT_THE_SEAT = "org.freedesktop.login1.suspend"
EXPIRED, DISMISSED = 1, 2


@pytest.fixture(scope="module")
def desk_guest(base: Snapshot) -> Iterator[Guest]:
    with restore(desktop_snapshot(base, "alice", "bob")) as guest:
        yield guest


@pytest.fixture
def alice(desk_guest: Guest) -> Desktop:
    """Return her desktop, with the seat and nothing on the screen."""
    desktop = Desktop.find(desk_guest, "alice")
    desktop.activate()
    for shown in desktop.notifications():
        desktop.dismiss(shown.summary)
    return desktop


@pytest.fixture
def bob(desk_guest: Guest) -> Desktop:
    return Desktop.find(desk_guest, "bob")


def told(sender: Process) -> list[tuple[str, object]]:
    """Return what a sender was told until its notification was closed, without its number."""
    assert sender.wait() == 0, sender.output()
    rows = [json.loads(line) for line in sender.output().splitlines()]
    assert rows[0][0] == "Notify"
    return [(member, value) for member, value in rows[1:]]


def service(desktop: Desktop) -> str:
    """Start a service of the person's own manager that does nothing; return its process id."""
    desktop.run("systemctl --user stop idle; systemd-run --user -q --unit=idle sleep 1000")
    return desktop.run("systemctl --user show -P MainPID idle", check=True).out.strip()


def polkit_allows(desktop: Desktop, pid: str) -> bool:
    words = ["pkcheck", "--action-id", AT_THE_SEAT, "--process", pid]
    result = desktop.run(words)
    assert result.rc in (0, 2), result
    return result.rc == 0


def test_her_session_is_active_local_and_at_the_seat(alice: Desktop) -> None:
    shown = alice.guest.run(["loginctl", "show-session", alice.session], check=True).out
    lines = set(shown.splitlines())
    assert lines >= {"Name=alice", "Active=yes", "Remote=no", "Seat=seat0", "Type=x11", "VTNr=7"}


def test_what_is_run_is_hers_in_her_session_with_selinux_enforcing(alice: Desktop) -> None:
    assert alice.run("echo $(id -un) $(pwd) $(getenforce)").out == "alice /home/alice Enforcing\n"
    assert alice.run("ps -o lsession= -p $$").out.strip() == alice.session
    assert alice.run("id -Z").out.startswith("unconfined_u:unconfined_r:unconfined_t:")
    assert (
        alice.run(
            "busctl --user call org.freedesktop.Notifications"
            " /org/freedesktop/Notifications org.freedesktop.Notifications"
            " GetCapabilities",
            check=True,
        ).out.count("actions")
        == 1
    )


def test_polkit_takes_a_service_of_her_manager_for_one_at_the_seat(alice: Desktop) -> None:
    assert polkit_allows(alice, service(alice))


def test_another_gets_the_seat_and_gives_it_back(alice: Desktop, bob: Desktop) -> None:
    hers, his = service(alice), service(bob)
    assert not bob.active()
    assert not polkit_allows(bob, his)
    alice.switch_to(bob)
    assert bob.active()
    assert polkit_allows(bob, his)
    assert not polkit_allows(alice, hers)
    bob.switch_to(alice)
    assert polkit_allows(alice, hers)


@pytest.mark.parametrize("number", range(len(ACTIONS)))
def test_the_sender_is_told_which_button_was_pressed(alice: Desktop, number: int) -> None:
    key, label = ACTIONS[number]
    sender = alice.notify("mozilla_t wants to reach 192.0.2.7", "<b>Often</b>", 60, ACTIONS)
    alice.press(label)
    assert told(sender) == [("ActionInvoked", key), ("NotificationClosed", DISMISSED)]


def test_notifications_are_read_as_they_are_drawn(alice: Desktop) -> None:
    alice.notify("A question", "a &lt;b&gt; <i>c</i>\nd", 60, ACTIONS)
    (one,) = alice.shown(1)
    assert (one.summary, one.body) == ("A question", "a <b> c\nd")
    assert list(one.buttons) == [label for _, label in ACTIONS]


def test_of_several_the_one_meant_is_pressed(alice: Desktop) -> None:
    senders = [alice.notify(f"Question {name}", "", 60, ACTIONS) for name in "abc"]
    assert {one.summary for one in alice.shown(3)} == {f"Question {name}" for name in "abc"}
    with pytest.raises(AssertionError, match="there are 3 of 'Block'"):
        alice.press("Block", seconds=1)
    alice.press("Block", "Question b")
    alice.press("Always allow", "Question c")
    alice.dismiss("Question a")
    assert told(senders[1])[0] == ("ActionInvoked", "no")
    assert told(senders[2])[0] == ("ActionInvoked", "always")
    assert told(senders[0]) == [("NotificationClosed", DISMISSED)]
    assert alice.notifications() == []


def test_what_nobody_answers_times_out(alice: Desktop) -> None:
    assert told(alice.notify("Too late", "", 2, ACTIONS)) == [("NotificationClosed", EXPIRED)]
    assert alice.notifications() == []


def test_each_has_a_screen_of_their_own(alice: Desktop, bob: Desktop) -> None:
    sender = bob.notify("For bob", "", 60, ACTIONS)
    assert [one.summary for one in bob.shown(1)] == ["For bob"]
    assert alice.notifications() == []
    bob.press("Block")
    assert told(sender)[0] == ("ActionInvoked", "no")


def test_a_screenshot_shows_what_is_there(alice: Desktop, tmp_path: Path) -> None:
    empty, full = tmp_path / "empty.png", tmp_path / "full.png"
    alice.screenshot(empty)
    sender = alice.notify("mozilla_t wants to reach 192.0.2.7:443/tcp", "Often", 60, ACTIONS)
    alice.shown(1)
    alice.screenshot(full)
    alice.dismiss()
    sender.wait()
    assert len(set(_pixels(empty))) == 1
    assert len(set(_pixels(full))) > 20


def test_who_logs_out_is_gone_and_may_come_back(alice: Desktop, bob: Desktop) -> None:
    bob.close()
    assert alice.guest.run("pgrep -u bob").out == ""
    assert "bob" not in alice.guest.run("loginctl list-sessions --no-legend").out
    again = Desktop.open(alice.guest, "bob")
    assert again.session != bob.session
    assert again.active()
    assert not alice.active()
    sender = again.notify("Again", "", 60, ACTIONS)
    again.press("Block")
    assert told(sender)[0] == ("ActionInvoked", "no")


def _pixels(file: Path) -> list[bytes]:
    """Return the pixels of a PNG whose rows are not filtered."""
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, bits, colour = struct.unpack(">IIBB", data[16:26])
    assert (width, height, bits, colour) == (1024, 768, 8, 2)
    start = data.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", data[start - 8 : start - 4])
    rows = zlib.decompress(data[start : start + length])
    line = 1 + 3 * width
    assert len(rows) == height * line
    assert not any(rows[::line])
    return [
        rows[at : at + 3]
        for row in range(0, len(rows), line)
        for at in range(row + 1, row + line, 3)
    ]
