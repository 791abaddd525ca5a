"""The agent between the real daemon and a notification server that does as it is told."""

from __future__ import annotations

import signal
import time

from appfwd.agent.prompts import SETTLED
from tests.agent.session import Server, Shown, agent, signal_of, start, stop
from tests.bus.peer import DRIVER, PATIENCE, Peer, manager_call
from tests.bus.records import deny, refused
from tests.bus.running import Daemon
from tests.bus.samples import ASKED
from tests.bus.wire import Message

HOST = "10.0.0.80:443/tcp"
TEN, ALWAYS, BLOCK, MORE = "Allow for 10 minutes", "Always allow", "Block", "More…"


def granted(daemon: Daemon) -> set[str]:
    return {place for domain, _, place, _ in daemon.state()["members"] if domain == "mozilla_t"}


def until(daemon: Daemon, place: str) -> None:
    end = time.monotonic() + PATIENCE
    while place not in granted(daemon):
        assert time.monotonic() < end
        time.sleep(0.01)


def asked(daemon: Daemon, server: Server, number: int = 80) -> Shown:
    """Have a packet refused; return the notification that asks."""
    deny(daemon, [refused("mozilla_t", f"10.0.0.{number}", 443)])
    return server.shown()


def test_a_button_answers_and_the_notification_goes(
    daemon: Daemon, session: str, server: Server, root: Peer
) -> None:
    with agent(daemon, session):
        shown = asked(daemon, server)
        assert shown.summary == f"mozilla_t wants to reach {HOST}"
        assert "probably curl" in shown.body
        assert (shown.hints["urgency"], shown.timeout) == (1, 60_000)
        assert "default" not in shown.keys.values()
        server.press(shown, TEN)
        server.until_closed(shown.number)
        until(daemon, HOST)
        (row,) = root.call("List", {"kind": "grant"})
        assert row["ends"] > 0


def test_block_and_always(daemon: Daemon, session: str, server: Server, root: Peer) -> None:
    with agent(daemon, session):
        server.press(asked(daemon, server), BLOCK)
        while not root.call("ListBlocked", {}):
            time.sleep(0.01)
        assert HOST not in granted(daemon)
        root.call("Unblock", "mozilla_t", HOST, {})
    with agent(daemon, session):
        time.sleep(0)
        deny(daemon, [refused("mozilla_t", "10.0.0.81", 443)])
        rows = root.call("ListPending", {})
        assert [row["destination"] for row in rows] == ["10.0.0.81:443/tcp"]
        assert server.quiet(), "after a block it is quiet for a while"


def test_more_turns_the_page_and_allows_more(daemon: Daemon, session: str, server: Server) -> None:
    with agent(daemon, session):
        shown = asked(daemon, server)
        server.press(shown, MORE)
        page = server.shown()
        assert page.replaces == shown.number
        assert "The whole network is 10.0.0.0/24." in page.body
        server.press(page, "Back")
        first = server.shown()
        assert TEN in first.keys
        server.press(first, MORE)
        server.press(server.shown(), "Allow host")
        until(daemon, "10.0.0.80")


def test_dismissed_and_timed_out_it_stays_pending(
    daemon: Daemon, session: str, server: Server, root: Peer
) -> None:
    with agent(daemon, session):
        for number, reason in ((80, 2), (81, 1)):
            shown = asked(daemon, server, number)
            server.dismiss(shown.number, reason)
        assert server.quiet()
        assert len(root.call("ListPending", {})) == 2
        assert not granted(daemon) & {HOST}


def test_answered_elsewhere_it_is_taken_away(
    daemon: Daemon, session: str, server: Server, root: Peer
) -> None:
    with agent(daemon, session):
        shown = asked(daemon, server)
        root.call("Answer", ASKED, "allow", {})
        server.until_closed(shown.number)
        server.press(shown, BLOCK)
        assert server.quiet()
        assert root.call("ListBlocked", {}) == []


def test_an_answer_that_fails_is_told(daemon: Daemon, session: str, server: Server) -> None:
    with agent(daemon, session):
        shown = asked(daemon, server)
        daemon.fail("save", "StoreFailed", "The disk is <full>.", times=2)
        server.press(shown, ALWAYS)
        said = server.shown()
        assert said.summary.startswith("Not answered: mozilla_t wants")
        assert said.body == "The disk is &lt;full&gt;."
        assert not said.keys


def test_signals_of_others_answer_nothing(daemon: Daemon, session: str, server: Server) -> None:
    forger = Peer(session)
    with agent(daemon, session):
        shown = asked(daemon, server)
        time.sleep(SETTLED + 0.1)
        for key in shown.keys.values():
            forger.send(signal_of("ActionInvoked", "us", shown.number, key))
        # Of the server itself: another key, of another question, another number, another form.
        for number, key in (
            (shown.number, "default"),
            (shown.number, "allow"),
            (shown.number, f"{ASKED[::-1]}/allow"),
            (shown.number, f"{ASKED}/allow/more"),
            (shown.number + 1, f"{ASKED}/allow"),
            (0, f"{ASKED}/allow"),
        ):
            server.signal("ActionInvoked", "us", number, key)
        server.signal("ActionInvoked", "su", f"{ASKED}/allow", shown.number)
        server.signal("NotificationClosed", "u", shown.number)
        assert server.quiet()
        assert HOST not in granted(daemon)
        server.press(shown, TEN)
        until(daemon, HOST)
    forger.close()


def test_a_click_on_the_notification_itself_answers_nothing(
    daemon: Daemon, session: str, server: Server
) -> None:
    with agent(daemon, session):
        shown = asked(daemon, server)
        server.signal("ActionInvoked", "us", shown.number, "default")
        server.dismiss(shown.number)
        assert server.quiet()
        assert HOST not in granted(daemon)


def test_forged_questions_are_not_shown(
    daemon: Daemon, session: str, server: Server, root: Peer
) -> None:
    """Anybody on the bus may send any connection a signal."""
    deny(daemon)
    (row, _) = root.ask(manager_call("ListPending", {}))[0]
    with agent(daemon, session), daemon.peer(65534) as forger:
        shown = {server.shown().summary for _ in range(2)}
        names = forger.ask(Message(**DRIVER, member="ListNames"))[0]
        for name in (name for name in names if name.startswith(":")):
            for member, body in (("Asked", row), ("Withdrawn", "answered")):
                kind = "sa{sv}" if member == "Asked" else "ss"
                where = ("/org/appfwd1", "org.appfwd1.Agent", member)
                forged = Message.new_signal(*where, kind, [row["id"].value, body])
                forged.destination = name
                forger.send(forged)
        assert server.quiet()
        assert len(shown) == 2
        assert not server.closed


def test_a_server_that_starts_anew_is_shown_everything_again(
    daemon: Daemon, session: str, server: Server
) -> None:
    with agent(daemon, session):
        asked(daemon, server)
        server.close()
        again = Server(session)
        shown = again.shown()
        assert shown.summary.endswith(HOST)
        again.press(shown, TEN)
        until(daemon, HOST)
        again.close()


def test_a_server_without_buttons_is_told_how_to_answer(daemon: Daemon, session: str) -> None:
    server = Server(session, ["body"])
    with agent(daemon, session):
        shown = asked(daemon, server)
        assert not shown.keys
        assert "appfwctl watch" in shown.body
        assert "&" not in shown.body
    server.close()


def test_without_a_server_it_waits_for_one(daemon: Daemon, session: str) -> None:
    with agent(daemon, session) as process:
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        time.sleep(0.2)
        server = Server(session)
        deny(daemon, [refused("mozilla_t", "10.0.0.81", 443)])
        while not server.shown().summary.endswith("10.0.0.81:443/tcp"):
            pass
        assert process.poll() is None
        server.close()


def test_what_is_withdrawn_while_the_server_is_slow_is_closed(
    daemon: Daemon, session: str, server: Server, root: Peer
) -> None:
    with agent(daemon, session):
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        server.peer._kept.clear()
        call = server.held()
        root.call("Answer", ASKED, "block", {})
        time.sleep(0.2)
        server.answer(call, 7)
        server.until_closed(7)


def test_closed_before_its_number_is_known_it_is_forgotten(
    daemon: Daemon, session: str, server: Server
) -> None:
    with agent(daemon, session):
        deny(daemon, [refused("mozilla_t", "10.0.0.80", 443)])
        call = server.held()
        server.dismiss(9)
        server.answer(call, 9)
        assert server.quiet()
        shown = asked(daemon, server, 81)
        assert shown.summary.endswith("10.0.0.81:443/tcp")


def test_the_daemon_killed_its_questions_go_and_come_back(
    own: Daemon, session: str, server: Server
) -> None:
    with agent(own, session):
        shown = asked(own, server)
        own.stop(signal.SIGKILL)
        server.until_closed(shown.number)
        own.start()
        while not own.tell("agents"):
            time.sleep(0.01)
        again = asked(own, server)
        server.press(again, TEN)
        until(own, HOST)


def test_told_to_stop_it_takes_everything_away(
    daemon: Daemon, session: str, server: Server, root: Peer
) -> None:
    with agent(daemon, session) as process:
        shown = asked(daemon, server)
        process.send_signal(signal.SIGTERM)
        server.until_closed(shown.number)
        assert process.wait(PATIENCE) == 0
        while daemon.tell("agents"):
            time.sleep(0.01)
        assert len(root.call("ListPending", {})) == 1


def test_killed_it_leaves_the_question_pending(
    daemon: Daemon, session: str, server: Server, root: Peer
) -> None:
    with agent(daemon, session) as process:
        asked(daemon, server)
        process.kill()
        process.wait()
    assert len(root.call("ListPending", {})) == 1
    with agent(daemon, session):
        assert server.shown().summary.endswith(HOST), "another agent is asked what is open"


def test_a_storm_shows_few_and_holds_few(daemon: Daemon, session: str, server: Server) -> None:
    with agent(daemon, session) as process:
        deny(daemon, [refused("mozilla_t", f"10.1.{n >> 8}.{n & 255}", 9) for n in range(250)])
        shown = [server.shown() for _ in range(3)]
        assert server.quiet()
        assert len({one.number for one in shown}) == 3
        server.press(shown[0], ALWAYS)
        assert server.shown().replaces == 0
        said = stop(process)
        assert "Traceback" not in said


def test_without_a_session_bus_it_says_so(daemon: Daemon, session: str) -> None:
    process = start(daemon, session + "-none")
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 14
    assert "Traceback" not in said
    assert "run it in a desktop session" in said


def test_a_user_who_may_not_is_told_so(daemon: Daemon, session: str) -> None:
    process = start(daemon, session, uid=65534)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode in (5, 14)  # the session bus is another user's, in these tests
    assert "Traceback" not in said
