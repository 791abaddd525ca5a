"""Grants that end while a policy is loaded for another change: at once, not when that is done."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from appfwd.errors import PolicyLoadFailed
from appfwd.model.changes import (
    Change,
    add_fence,
    add_grant,
    add_guard,
    remove_grant,
    set_bridge,
)
from appfwd.model.ends import After
from appfwd.model.fence import Fence
from appfwd.model.state import Bridge, DesiredState, Grant, Guard
from appfwd.ports import Stored
from tests.core.stories import point
from tests.core.world import HOST, World, run

GRANT = Grant("a_t", HOST)


class _Load:
    """Holds one of the next loads of a policy until it is let go."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        install, left = world.machine.install, [number]

        async def held(text: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                self.begun.set()
                await self.go_on.wait()
            await install(text)

        monkeypatch.setattr(world.machine, "install", held)


async def _while_loading(
    world: World, monkeypatch: pytest.MonkeyPatch, change: Change, number: int = 1
) -> tuple[_Load, asyncio.Future[Stored]]:
    """Have a grant of 60 seconds, and begin a change; return when it loads a policy."""
    await world.reconciler.submit(add_guard(Guard(HOST)), 1000)
    await world.reconciler.submit(add_grant(GRANT, After(60.0)), 1000)
    load = _Load(world, monkeypatch, number)
    waiting = asyncio.ensure_future(world.reconciler.submit(change, 1000))
    await load.begun.wait()
    return load, waiting


def _reaches(world: World, domain: str = "a_t") -> bool:
    return bool(world.machine.model.view().allowed(domain, point("10.0.0.5:80/tcp")))


async def _until_refused(world: World) -> bool:
    for _ in range(300):
        if not _reaches(world):
            return True
        await asyncio.sleep(0.01)
    return False


def _revoked_and_fenced(state: DesiredState) -> DesiredState:
    return add_fence(Fence("b_t"))(remove_grant(GRANT)(state))


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("change", "number"),
    [
        pytest.param(add_grant(Grant("c_t", HOST)), 1, id="a grant there"),
        pytest.param(add_fence(Fence("b_t")), 1, id="a fence"),
        pytest.param(add_fence(Fence("b_t")), 2, id="a fence, its second load"),
        pytest.param(_revoked_and_fenced, 1, id="the revoke, and a fence"),
        pytest.param(set_bridge(Bridge.CLOSED), 1, id="the bridge"),
    ],
)
def test_a_grant_ends_while_a_policy_is_loaded_for_another_change(
    monkeypatch: pytest.MonkeyPatch, change: Change, number: int, *, fails: bool
) -> None:
    async def story(world: World) -> None:
        load, waiting = await _while_loading(world, monkeypatch, change, number)
        assert _reaches(world)
        if fails:
            world.fail_at("install", PolicyLoadFailed("no"))
        world.now = replace(world.now, seconds=world.now.seconds + 60)
        assert await _until_refused(world)
        assert not waiting.done()
        load.go_on.set()
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(outcome, PolicyLoadFailed) is fails
        assert await _until_gone(world, GRANT)
        assert not _reaches(world)

    run(story).consistent()


async def _until_gone(world: World, grant: Grant) -> bool:
    for _ in range(300):
        if grant not in world.reconciler.stored.state.grants:
            return True
        await asyncio.sleep(0.01)
    return False


def test_one_that_is_granted_anew_meanwhile_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Grant("c_t", HOST)

    async def story(world: World) -> None:
        load, waiting = await _while_loading(
            world, monkeypatch, lambda state: add_grant(GRANT)(add_grant(new)(state))
        )
        world.now = replace(world.now, seconds=world.now.seconds + 60)
        await asyncio.sleep(1.2)
        assert _reaches(world)
        load.go_on.set()
        await waiting
        assert world.reconciler.stored.state.grants == {GRANT, new}
        assert _reaches(world)

    run(story).consistent()
