"""Persons are asked about denials and answer: with the real writer, over a model kernel."""

from __future__ import annotations

import asyncio

import pytest

from appfwd.asking import asker
from appfwd.asking.agents import AGENTS_AT_MOST, AGENTS_OF_ONE
from appfwd.asking.asker import Asker
from appfwd.core import pool
from appfwd.core.questions import OPEN_OF_ONE, id_of
from appfwd.errors import Busy, NotFound, PolicyLoadFailed, StoreFailed, TableFailed
from appfwd.listening.denials import Times
from appfwd.model.block import Block
from appfwd.model.changes import add_grant, add_guard, remove_fence, set_active
from appfwd.model.observation import Observation
from appfwd.model.state import Grant, Guard
from appfwd.ports import Caller
from tests.core.desk import HOST, ME, Desk, run
from tests.core.refusals import text
from tests.core.stories import place
from tests.core.test_observer import until

ROOT, OTHER = Caller(":1.1", 0), Caller(":1.6", 1001)


def test_a_fenced_domain_is_asked_about_and_allowed() -> None:
    async def story(desk: Desk) -> None:
        await desk.deny(text(), text())
        assert desk.voice.take() == [(ME.sender, "asked", HOST)]
        (request,) = desk.voice.requests
        assert (request.domain, request.program, request.count) == ("a_t", "firefox", 2)
        number = await desk.allow()
        assert number
        assert Grant("a_t", place(HOST)) in desk.world.reconciler.stored.state.grants
        assert desk.voice.take() == [], "who answered is not told to withdraw"
        assert desk.pending() == []
        with pytest.raises(NotFound):
            await desk.allow()

    run(story)


@pytest.mark.parametrize("what", ["not fenced", "guarded", "granted", "spared", "down"])
def test_what_is_not_the_fences_doing_or_decided_is_not_asked_about(what: str) -> None:
    async def story(desk: Desk) -> None:
        submit = desk.world.reconciler.submit
        record = text()
        if what == "not fenced":
            record = text(domain="b_t")
        elif what == "guarded":
            await submit(add_guard(Guard(place("10.0.0.0/24"))), 0)
        elif what == "granted":
            await submit(add_grant(Grant("a_t", place("any:443"))), 0)
        elif what == "spared":
            record = text(port=53)
        else:
            await submit(set_active(active=False), 0)
        await desk.deny(record)
        assert desk.voice.take() == []
        assert desk.pending() == []
        assert [one.count for one in await desk.denials.history.seen()] == [1], "but it is counted"

    run(story)


def test_the_first_answer_counts_and_the_others_are_withdrawn() -> None:
    async def story(desk: Desk) -> None:
        desk.asker.register(ROOT)
        await desk.deny(text())
        asked = {(sender, what) for sender, _, what in desk.voice.take()}
        assert asked == {(ROOT.sender, HOST), (ME.sender, HOST)}
        first = asyncio.create_task(desk.allow())
        await asyncio.sleep(0)
        with pytest.raises(NotFound):
            await desk.allow(caller=ROOT)
        with pytest.raises(NotFound):
            desk.asker.question(id_of(Observation("a_t", place(HOST))))
        assert not first.done()
        await first
        assert desk.voice.take() == [(ROOT.sender, "withdrawn", "answered")]

    run(story)


def test_an_answer_that_fails_leaves_the_question() -> None:
    async def story(desk: Desk) -> None:
        await desk.deny(text())
        desk.world.fail_at("table", TableFailed("no"), 2)  # with others, then alone
        with pytest.raises(TableFailed):
            await desk.allow()
        assert desk.pending() == [HOST]
        desk.world.fail = lambda _operation: None
        assert await desk.allow()

    run(story)


def test_only_who_is_at_the_machine_is_asked_and_root() -> None:
    async def story(desk: Desk) -> None:
        desk.asker.register(OTHER)
        await desk.deny(text())
        assert desk.voice.take() == [(ME.sender, "asked", HOST)]
        desk.active = frozenset({1001})
        desk.asker.sessions_changed()
        assert desk.voice.take() == [
            (ME.sender, "withdrawn", "session"),
            (OTHER.sender, "asked", HOST),
        ]
        desk.active = frozenset()
        desk.asker.sessions_changed()
        assert desk.voice.take() == [(OTHER.sender, "withdrawn", "session")]
        desk.asker.register(ROOT)
        assert desk.voice.take() == [(ROOT.sender, "asked", HOST)]

    run(story)


def test_what_was_denied_with_nobody_there_is_asked_when_somebody_comes() -> None:
    async def story(desk: Desk) -> None:
        desk.asker.unregister(ME.sender)
        await desk.deny(*(text(f"10.0.1.{n}") for n in range(9)))
        assert len(desk.pending()) == 9
        desk.asker.register(ME)
        assert len(desk.voice.take()) == OPEN_OF_ONE

    run(story)


def test_an_agent_that_left_is_not_told_and_one_that_comes_back_is_asked() -> None:
    async def story(desk: Desk) -> None:
        await desk.deny(text())
        desk.voice.take()
        desk.asker.unregister(ME.sender)
        desk.asker.unregister("nobody")
        await desk.deny(text("10.0.0.6"))
        assert desk.voice.take() == []
        desk.asker.register(ME)
        asked = {what for _, _, what in desk.voice.take()}
        assert asked == {HOST, "10.0.0.6:443/tcp"}
        desk.asker.register(ME)
        assert desk.voice.take() == [], "it asks these already"

    run(story)


def test_agents_are_few() -> None:
    async def story(desk: Desk) -> None:
        for n in range(AGENTS_OF_ONE):
            desk.asker.register(Caller(f":2.{n}", 2000))
        with pytest.raises(Busy):
            desk.asker.register(Caller(":2.99", 2000))
        desk.asker.register(Caller(":2.0", 2000))
        for n in range(AGENTS_AT_MOST - AGENTS_OF_ONE - 1):
            desk.asker.register(Caller(f":3.{n}", 3000 + n))
        with pytest.raises(Busy):
            desk.asker.register(Caller(":4.1", 4000))

    run(story)


def test_a_block_is_kept_and_quiet_and_can_be_taken_back() -> None:
    async def story(desk: Desk) -> None:
        desk.asker.register(ROOT)
        await desk.deny(text(), text("10.0.0.6"), text("10.0.9.9"))
        desk.voice.take()
        block = Block("a_t", place("10.0.0.0/24"))
        await desk.asker.block(ME, block)
        assert desk.voice.take() == [(ROOT.sender, "withdrawn", "blocked")] * 2
        assert desk.pending() == ["10.0.9.9:443/tcp"]
        assert [one.uid for one in desk.asker.blocked()] == [1000]
        await desk.deny(text())
        assert desk.pending() == ["10.0.9.9:443/tcp"]
        await desk.asker.unblock(block)
        with pytest.raises(NotFound):
            await desk.asker.unblock(block)
        desk.now += 100
        await desk.deny(text())
        assert (ME.sender, "asked", HOST) in desk.voice.take()

    run(story)


def test_a_block_that_is_not_stored_changes_nothing() -> None:
    async def story(desk: Desk) -> None:
        await desk.deny(text())
        desk.blocks.error = StoreFailed("the disk is full")
        with pytest.raises(StoreFailed):
            await desk.asker.block(ME, Block("a_t", place(HOST)))
        assert desk.pending() == [HOST]
        assert not desk.asker.blocked()

    run(story)


@pytest.mark.parametrize("what", ["granted", "guarded", "unfenced", "down"])
def test_what_others_decide_is_withdrawn(what: str) -> None:
    async def story(desk: Desk) -> None:
        await desk.deny(text())
        desk.voice.take()
        change = {
            "granted": add_grant(Grant("a_t", place("any"))),
            "guarded": add_guard(Guard(place("10.0.0.5"))),
            "unfenced": remove_fence("a_t"),
            "down": set_active(active=False),
        }[what]
        await desk.world.reconciler.submit(change, 0)
        why = "granted" if what == "granted" else "expired"
        assert desk.voice.take() == [(ME.sender, "withdrawn", why)]
        with pytest.raises(NotFound):
            await desk.allow()

    run(story)


def test_a_wider_answer_answers_the_others_too() -> None:
    async def story(desk: Desk) -> None:
        await desk.deny(text(), text(port=80), text("10.0.9.9"))
        desk.voice.take()
        await desk.allow(granted="10.0.0.5")
        assert desk.voice.take() == [(ME.sender, "withdrawn", "granted")]
        assert desk.pending() == ["10.0.9.9:443/tcp"]

    run(story)


def test_an_answer_brings_the_next_question() -> None:
    async def story(desk: Desk) -> None:
        await desk.deny(*(text(f"10.0.1.{n}") for n in range(6)))
        asked = [what for _, _, what in desk.voice.take()]
        assert len(asked) == OPEN_OF_ONE
        await desk.allow(asked[0])
        ((_, _, following),) = desk.voice.take()
        assert following not in asked

    run(story)


def test_the_policy_is_made_ready_so_that_an_answer_loads_none() -> None:
    async def story(desk: Desk) -> None:
        await desk.fence("b_t")
        loads = desk.world.machine.loads
        await desk.deny(text(), text("10.0.0.6", port=80))
        await until(lambda: desk.world.machine.loads > loads)
        loads = desk.world.machine.loads
        await desk.world.reconciler.refresh()
        await desk.allow()
        await desk.allow("10.0.0.6:80/tcp")
        assert desk.world.machine.loads == loads
        desk.world.consistent()

    run(story)


async def _refused_to_be_made_ready(desk: Desk) -> None:
    """Have a denial, and the policy load that it leads to fail once."""
    refused: list[str] = []

    def fail(operation: str) -> None:
        if operation.startswith("install") and not refused:
            refused.append(operation)
            raise PolicyLoadFailed("no")

    desk.world.fail = fail
    await desk.deny(text())
    await until(lambda: refused)


def test_where_it_cannot_be_made_ready_the_answer_does_it() -> None:
    async def story(desk: Desk) -> None:
        await desk.fence("b_t")
        await _refused_to_be_made_ready(desk)
        assert await desk.allow()
        desk.world.consistent()

    run(story)


def test_after_a_restart_what_was_not_answered_is_still_pending() -> None:
    async def story(desk: Desk) -> None:
        await desk.deny(text(), text("10.0.0.6"), text("10.0.0.7"), text(domain="b_t"))
        await desk.asker.block(ME, Block("a_t", place("10.0.0.6:443/tcp")))
        again = Asker(desk.asker._o)
        await again.restore()
        assert sorted(one.destination for one in again.pending()) == [HOST, "10.0.0.7:443/tcp"]
        desk.blocks.error = StoreFailed("the disk is broken")
        await Asker(desk.asker._o).restore()

    run(story)


def test_a_storm_is_bounded_and_answers_are_taken_in_it() -> None:
    """10,000 places of one domain, and 100 domains at once."""

    async def story(desk: Desk) -> None:
        await desk.deny(text())
        for first in range(0, 10_000, 250):
            desk.hearing.heard(
                [text(f"10.{n >> 8}.{n & 255}.9") for n in range(first, first + 250)]
            )
            desk.hearing.heard([text("10.1.1.1", domain=f"d{n}_t") for n in range(100)])
            await asyncio.sleep(0)
        assert await desk.allow()
        assert len(desk.denials._waiting) <= 2_048
        assert len(desk.pending()) <= 32
        asked = [one for one in desk.voice.take() if one[1] == "asked"]
        assert len(asked) <= OPEN_OF_ONE + 1

    run(story)


def test_times_are_of_one_refusal() -> None:
    async def story(desk: Desk) -> None:
        seen: list[Times] = []
        desk.denials.on_denied = lambda batch: seen.extend(times for _, times in batch)
        desk.hearing.heard([text(), text(comm='"other"'), text(local=40_001)])
        await until(lambda: seen)
        assert [(one.count, one.program) for one in seen] == [(2, "other"), (1, "firefox")]

    run(story)


def test_the_peers_name_follows_where_it_is_known() -> None:
    async def story(desk: Desk) -> None:
        desk.names["10.0.0.5"] = "proxy.example.net"
        await desk.deny(text(), text("10.0.0.6"))
        await until(lambda: any(one.name for one in desk.voice.requests))
        first, *_, last = [one for one in desk.voice.requests if one.destination == HOST]
        assert (first.name, last.name) == ("", "proxy.example.net")
        others = [one.name for one in desk.voice.requests if one.destination != HOST]
        assert others == [""]

    run(story)


def test_what_could_not_be_made_ready_is_tried_again_with_the_next_denial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asker, "_READY_PAUSE", 0.0)
    monkeypatch.setattr(asker, "_READY_SHARE", 0)
    # With slots that others' answers leave, there would be nothing to make ready.
    monkeypatch.setattr(pool, "SLOTS", 0)

    async def story(desk: Desk) -> None:
        await desk.fence("b_t")
        loads = desk.world.machine.loads
        await _refused_to_be_made_ready(desk)
        assert desk.world.machine.loads == loads
        await desk.deny(text())
        await until(lambda: desk.world.machine.loads > loads)
        question = desk.asker.question(id_of(Observation("a_t", place(HOST))))
        await until(lambda: desk.asker._is_ready(question))
        await desk.fence("c_t")
        assert not desk.asker._is_ready(question), "others' fences change who a label is for"
        loads = desk.world.machine.loads
        await desk.deny(text())
        await until(lambda: desk.world.machine.loads > loads)

    run(story)
