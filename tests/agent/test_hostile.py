"""The agent with servers and questions as they seldom are."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appfwd.agent.prompts import SETTLED
from tests.agent.session import MODULE, Server, start, stop
from tests.agent.standin import asking, question, row
from tests.bus.peer import PATIENCE
from tests.bus.running import LIBRARIES, Daemon
from tests.bus.wire import Message, Variant
from tests.bus.world import ROOT, World
from tests.bus.world import world as running_world

TEN, ALWAYS, MORE = "Allow for 10 minutes", "Always allow", "More…"


@pytest.fixture(scope="module")
def _world() -> Iterator[World]:
    with running_world() as world:
        yield world


@pytest.fixture(params=LIBRARIES)
def none(request: pytest.FixtureRequest, _world: World) -> Daemon:
    """Have a bus on which no daemon runs."""
    return Daemon(_world, request.param)


def memory(process: subprocess.Popen[str]) -> int:
    """Return a process's resident memory in KiB."""
    status = Path(f"/proc/{process.pid}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


def clean_end(process: subprocess.Popen[str]) -> None:
    """Have an agent end, and hold that nothing surprised it."""
    said = stop(process)
    assert "Traceback" not in said
    assert "never retrieved" not in said


def test_a_burst_of_many_shows_five_and_holds_few(
    none: Daemon, session: str, server: Server
) -> None:
    with asking(none, session) as (daemon, process):
        daemon.ask(question(0))
        shown = [server.shown()]
        before = memory(process)
        daemon.ask(*(question(number) for number in range(1, 10_000)))
        shown += [server.shown() for _ in range(4)]
        assert server.quiet(1)
        assert len({one.number for one in shown}) == 5
        assert memory(process) - before < 8 * 1024
        server.press(shown[0], TEN)
        assert daemon.answered().body[0] == "q0"
        assert server.shown().summary.endswith(question(5).destination)
        clean_end(process)


def test_one_asked_ever_anew_is_one_notification(
    none: Daemon, session: str, server: Server
) -> None:
    with asking(none, session) as (daemon, process):
        daemon.ask(question(1, count=2))
        call = server.held()
        daemon.ask(*(question(1, count=number) for number in range(3, 3001)))
        daemon.ask(question(2))
        time.sleep(1)  # all of them are heard while the server is slow
        server.answer(call, 1)
        server.number = 1
        assert "3000 times" in server.shown().body
        assert server.shown().summary.endswith(question(2).destination)
        assert server.quiet()
        clean_end(process)


def test_of_two_presses_the_first_counts(none: Daemon, session: str, server: Server) -> None:
    with asking(none, session) as (daemon, process):
        daemon.ask(question(1))
        shown = server.shown()
        time.sleep(SETTLED + 0.1)
        for label in (TEN, ALWAYS, TEN):
            server.signal("ActionInvoked", "us", shown.number, shown.keys[label])
        call = daemon.answered()
        assert daemon.quiet()
        daemon.accept(call)
        assert daemon.answers == [("q1", "allow", {"for": 600})]
        clean_end(process)


def test_a_press_before_it_could_be_read_answers_nothing_and_it_is_asked_again(
    none: Daemon, session: str, server: Server
) -> None:
    with asking(none, session) as (daemon, process):
        daemon.ask(question(1))
        shown = server.shown()
        for _ in range(3):
            server.press(shown, ALWAYS, after=0)
            shown = server.shown()
        assert not daemon.answers
        server.press(shown, TEN)
        assert daemon.answered().body[0] == "q1"
        clean_end(process)


@pytest.mark.parametrize("why", ["answered", "dismissed", "withdrawn"])
def test_a_second_click_where_another_moved_up_answers_nothing(
    none: Daemon, session: str, server: Server, why: str
) -> None:
    with asking(none, session) as (daemon, process):
        daemon.ask(question(1), question(2))
        one, other = server.shown(), server.shown()
        if why == "answered":
            server.press(one, TEN)
            daemon.accept(daemon.answered())
        elif why == "dismissed":
            time.sleep(SETTLED + 0.1)
            server.dismiss(one.number)
        else:
            time.sleep(SETTLED + 0.1)
            daemon.tell("Withdrawn", "ss", "q1", "answered")
            server.until_closed(one.number)
        server.press(other, ALWAYS, after=0)
        again = server.shown()
        assert again.summary == other.summary
        assert daemon.quiet()
        server.press(again, ALWAYS)
        assert daemon.answered().body[0] == "q2"
        clean_end(process)


def test_a_page_that_has_just_turned_takes_no_answer(
    none: Daemon, session: str, server: Server
) -> None:
    """A double click on what turns it would fall on what is there then."""
    with asking(none, session) as (daemon, process):
        daemon.ask(question(1))
        server.press(server.shown(), MORE)
        page = server.shown()
        server.press(page, "Block all", after=0)
        again = server.shown()
        assert again.keys == page.keys
        assert daemon.quiet()
        clean_end(process)


def test_news_of_a_question_do_not_keep_it_from_being_answered(
    none: Daemon, session: str, server: Server
) -> None:
    with asking(none, session) as (daemon, process):
        daemon.ask(question(1))
        shown = server.shown()
        time.sleep(SETTLED + 0.1)
        daemon.ask(question(1, count=5))
        assert server.shown().replaces == shown.number
        server.press(shown, TEN, after=0)
        assert daemon.answered().body[0] == "q1"
        clean_end(process)


def test_where_three_buttons_are_drawn_a_click_turns_the_page(none: Daemon, session: str) -> None:
    server = Server(session, name="gnome-shell")
    with asking(none, session) as (daemon, process):
        daemon.ask(question(1))
        seen = [server.shown()]
        for _ in range(3):
            server.signal("ActionInvoked", "us", seen[-1].number, "default")
            server.dismiss(seen[-1].number, 3)
            seen.append(server.shown())
        drawn = [[label for _, label in one.actions[:3]] for one in seen]
        assert drawn[1] == ["Allow host", "Allow port", "Allow network"]
        assert drawn[2][0] == "Block all"
        assert drawn[3] == drawn[0] == [TEN, ALWAYS, "Block"]
        assert not daemon.answers
        server.press(seen[-1], TEN)
        assert daemon.answered().body[0] == "q1"
        clean_end(process)
    server.close()


@pytest.mark.parametrize(
    "change",
    [
        {"first": Variant("d", math.nan)},
        {"last": Variant("d", math.inf)},
        {"last": Variant("d", 1e18)},
        {"last": Variant("d", -1.0)},
        {"count": Variant("d", 1.0)},
        {"direction": Variant("s", "up")},
        {"others": Variant("s", "x")},
        {"others": Variant("ai", [1])},
        {"id": Variant("s", "q2")},
    ],
)
def test_what_is_no_request_is_dropped(
    none: Daemon, session: str, server: Server, change: dict[str, Variant]
) -> None:
    with asking(none, session) as (daemon, process):
        daemon.row("q1", {**row(question(1)), **change})
        daemon.tell("Asked", "ss", "q1", "q1")
        daemon.ask(question(3))
        shown = server.shown()
        daemon.tell("Withdrawn", "ss", "unknown", "answered")
        daemon.tell("Withdrawn", "s", "q3")
        assert shown.summary.endswith(question(3).destination)
        server.press(shown, MORE)
        assert server.shown().replaces == shown.number
        clean_end(process)


def test_a_question_from_before_the_server_is_shown_once_there_is_one(
    none: Daemon, session: str
) -> None:
    with asking(none, session, "--verbose") as (daemon, process):
        daemon.ask(question(1), question(2))
        assert process.stdout is not None
        while "no notification server" not in process.stdout.readline():
            pass
        server = Server(session)
        shown = {server.shown().summary for _ in range(2)}
        assert shown == {f"mozilla_t wants to reach {question(n).destination}" for n in (1, 2)}
        clean_end(process)
        server.close()


@pytest.mark.parametrize("more", [False, True])
def test_a_server_that_ends_in_the_middle_loses_no_question(
    none: Daemon, session: str, server: Server, *, more: bool
) -> None:
    with asking(none, session) as (daemon, process):
        daemon.ask(question(1))
        if more:
            server.press(server.shown(), MORE)
        server.held()
        server.close()
        again = Server(session)
        shown = again.shown()
        assert shown.summary.endswith(question(1).destination)
        assert shown.replaces == 0
        assert again.quiet()
        clean_end(process)
        again.close()


def test_a_late_reply_of_the_server_before_is_no_number_of_the_new_one(
    none: Daemon, session: str, server: Server
) -> None:
    """What that number is to the new one may be another program's notification."""
    with asking(none, session) as (daemon, process):
        daemon.ask(question(1))
        call = server.held()
        server.resign()
        again = Server(session)
        server.answer(call, 77)
        shown = again.shown()
        assert shown.replaces == 0
        time.sleep(SETTLED + 0.1)
        server.signal("ActionInvoked", "us", shown.number, shown.keys[ALWAYS])
        assert daemon.quiet(), "the one before is believed no more"
        again.press(shown, TEN)
        assert daemon.answered().body[0] == "q1"
        assert daemon.answers == [("q1", "allow", {"for": 600})]
        assert 77 not in again.closed
        clean_end(process)
        again.close()


def test_a_server_that_resigned_is_not_believed(none: Daemon, session: str, server: Server) -> None:
    with asking(none, session) as (daemon, process):
        daemon.ask(question(1))
        shown = server.shown()
        server.resign()
        server.press(shown, ALWAYS)
        assert daemon.quiet()
        clean_end(process)


@pytest.mark.parametrize(("signature", "body"), [("s", ["one"]), ("", []), ("i", [5])])
def test_a_server_that_answers_nonsense_is_survived(
    none: Daemon, session: str, server: Server, signature: str, body: list[object]
) -> None:
    with asking(none, session) as (daemon, process):
        daemon.ask(question(1))
        call = server.held()
        server.peer.send(Message.new_method_return(call, signature, body))
        daemon.ask(question(2))
        assert server.shown().summary.endswith(question(2).destination)
        clean_end(process)


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0", "1e9", "x"])
def test_a_timeout_that_is_none_is_refused(none: Daemon, session: str, seconds: str) -> None:
    process = start(none, session, "--timeout", seconds)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "Traceback" not in said


@pytest.mark.parametrize("address", ["unix:path=/nowhere", "nonsense"])
@pytest.mark.parametrize("kind", ["SYSTEM", "SESSION"])
def test_without_a_bus_it_says_so_in_a_sentence(
    none: Daemon, session: str, kind: str, address: str
) -> None:
    buses = {
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={session}",
        f"DBUS_{kind}_BUS_ADDRESS": address,
    }
    done = subprocess.run(
        none.program(MODULE),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={**none.world.environment, **buses},
        cwd=ROOT,
    )
    assert done.returncode == 14
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"appfwd-agent: The {kind.lower()} bus cannot be reached (")
