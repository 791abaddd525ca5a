"""Serves what notifications are on this session's screen, and presses on them.

Argument: the path of its socket. A request is a line of JSON, and so is its answer:

    ["show", COUNT, SECONDS]            what is shown, once there are so many or the time is over
    ["click", LABEL, TEXT, SECONDS]     press the button of a label, of the one notification with
                                        a text in it, once it is there; without a label, press on
                                        its summary. The answer tells what is wrong, or nothing.

Accessibility tells what each widget says and where it is; the press is X's own input.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from dbus_next import Message, MessageType
from dbus_next.aio import MessageBus

SERVER = "xfce4-notifyd"
ROOT = ("org.a11y.atspi.Registry", "/org/a11y/atspi/accessible/root")
ACCESSIBLE, COMPONENT = "org.a11y.atspi.Accessible", "org.a11y.atspi.Component"
PROPERTIES = "org.freedesktop.DBus.Properties"
SHOWING = 1 << 25
#: Where the pointer rests: one that it is on does not time out.
CORNER = ("mousemove", "0", "767")
#: As long as a person needs at the least to see what it is.
READS_SECONDS = 0.7
POLL_SECONDS = 0.1

Reference = tuple[str, str]
#: What it says; left, top, width and height on the screen.
Widget = tuple[str, tuple[int, int, int, int]]


@dataclass
class Shown:
    """A notification: what its labels and its buttons say, and where they are."""

    texts: list[Widget] = field(default_factory=list)
    buttons: list[Widget] = field(default_factory=list)

    def says(self, text: str) -> bool:
        """Tell whether a text is in it."""
        return any(text in said for said, _ in self.texts)


class Screen:
    """The widgets that accessibility tells of."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus

    @classmethod
    async def connect(cls) -> "Screen":
        """Connect to the bus of accessibility, which the session bus names."""
        session = await MessageBus().connect()
        asked = Message("org.a11y.Bus", "/org/a11y/bus", "org.a11y.Bus", "GetAddress")
        reply = await session.call(asked)
        assert reply is not None
        return cls(await MessageBus(bus_address=reply.body[0]).connect())

    async def notifications(self) -> list[Shown]:
        """Return what is shown, from the top of the screen."""
        found = []
        for program in await self._children(ROOT):
            if await self._name(program) == SERVER:
                for window in await self._children(program):
                    shown = Shown()
                    for role, widget in await self._read(window):
                        (shown.texts if role == "label" else shown.buttons).append(widget)
                    if shown.texts:
                        found.append(shown)
        return sorted(found, key=lambda one: min(box[1] for _, box in one.texts))

    async def _read(self, widget: Reference) -> list[tuple[str, Widget]]:
        """Return the labels and buttons that are to be seen in a widget, each with its role.

        What can be asked at once is: each answer takes long in an emulated machine.
        """
        state, role = await asyncio.gather(
            self._call(widget, ACCESSIBLE, "GetState"),
            self._call(widget, ACCESSIBLE, "GetRoleName"),
        )
        if not state or not state[0] & SHOWING:
            return []
        if role not in ("label", "button"):
            inside = await asyncio.gather(*map(self._read, await self._children(widget)))
            return [one for part in inside for one in part]
        name, box = await asyncio.gather(
            self._name(widget), self._call(widget, COMPONENT, "GetExtents", "u", 0)
        )
        return [(role, (name, tuple(box)))] if box else []

    async def _children(self, widget: Reference) -> list[Reference]:
        return await self._call(widget, ACCESSIBLE, "GetChildren") or []

    async def _name(self, widget: Reference) -> str:
        found = await self._call(widget, PROPERTIES, "Get", "ss", ACCESSIBLE, "Name")
        return str(found.value) if found else ""

    async def _call(
        self, widget: Reference, interface: str, member: str, signature: str = "", *body: object
    ) -> Any:
        """Return the answer; None from a widget that is no more."""
        name, path = widget
        call = Message(name, path, interface, member, signature=signature, body=list(body))
        reply = await self._bus.call(call)
        gone = reply is None or reply.message_type is MessageType.ERROR
        return None if gone or reply is None else reply.body[0]


async def show(screen: Screen, count: int | None, seconds: float) -> list[dict[str, Any]]:
    """Return what is shown; with a count, once there are so many or the time is over."""
    end = time.monotonic() + seconds
    found = await screen.notifications()
    while count not in (None, len(found)) and time.monotonic() < end:
        await asyncio.sleep(POLL_SECONDS)
        found = await screen.notifications()
    return [asdict(one) for one in found]


async def find(screen: Screen, label: str, text: str) -> list[tuple[str, str]]:
    """Return the middles of what could be meant: of buttons, or with no label of summaries."""
    boxes = []
    for one in await screen.notifications():
        if one.says(text):
            widgets = one.buttons if label else one.texts[:1]
            boxes += [box for said, box in widgets if said == label or not label]
    return [(str(box[0] + box[2] // 2), str(box[1] + box[3] // 2)) for box in boxes]


async def click(screen: Screen, label: str, text: str, seconds: float) -> str:
    """Click on it as a person does, once it is there; return what is wrong, or nothing."""
    found: list[tuple[str, str]] = []
    end = time.monotonic() + seconds
    # Where the pointer is moved to, it must still be then: others may go meanwhile.
    while len(found) != 1 or found != await find(screen, label, text):
        if time.monotonic() > end:
            return f"there are {len(found)} of {label!r} with {text!r}"
        found = await find(screen, label, text)
        if len(found) == 1:
            await move("mousemove", *found[0])
            await asyncio.sleep(READS_SECONDS)
        else:
            await asyncio.sleep(POLL_SECONDS)
    await move("click", "1", *CORNER)
    return ""


WORK: dict[str, Callable[..., Awaitable[Any]]] = {"show": show, "click": click}


async def move(*words: str) -> None:
    """Do something with the mouse."""
    await (await asyncio.create_subprocess_exec("xdotool", *words)).wait()


async def main(path: str) -> None:
    """Serve for as long as the session lasts."""
    screen = await Screen.connect()
    await move(*CORNER)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        what, *words = json.loads(await reader.readline())
        answer = await WORK[what](screen, *words)
        writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    async with await asyncio.start_unix_server(serve, path) as server:
        await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
