"""The virtual screen, as a program that also runs in guests, so it is of the standard library.

    screen.py DISPLAY FRAMEBUFFER shown           notifications: their places and buttons, as JSON
    screen.py DISPLAY FRAMEBUFFER press N BUTTON  click a button; both are counted from 0
    screen.py DISPLAY FRAMEBUFFER click N         click into the text of a notification
    screen.py DISPLAY FRAMEBUFFER png FILE        write a picture of it

Xvfb writes its framebuffer to a file in the format of xwd(1) (X11/XWDFile.h). A notification is a
window of the server's; its buttons stand in one row near its lower edge, each a patch that is not
of the window's white. Clicks are made by the X server (XTEST, xdotool(1)).
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

#: Words of an XWD header, and where in it: its size, width, height, bytes of a line, colours.
_HEADER, _SIZE, _WIDTH, _HEIGHT, _LINE, _COLOURS = struct.Struct(">25I"), 0, 4, 5, 12, 19
_COLOUR_BYTES = 12
#: A colour is the window's own where no part of it is darker: shadows are between buttons too.
_WHITE = 246
#: Pixels: the row of buttons above a window's lower edge; the narrowest gap between two, and the
#: narrowest button; the smallest window that is a notification.
_ROW, _GAP, _BUTTON, _WINDOW = 24, 3, 40, 100


class Window(NamedTuple):
    """A notification's place on the screen."""

    x: int
    y: int
    width: int
    height: int


class Screen:
    """The picture that a framebuffer holds now."""

    def __init__(self, framebuffer: Path) -> None:
        data = framebuffer.read_bytes()
        header = _HEADER.unpack_from(data)
        self.width, self.height, self._line = header[_WIDTH], header[_HEIGHT], header[_LINE]
        self._pixels = data[header[_SIZE] + header[_COLOURS] * _COLOUR_BYTES :]

    def row(self, y: int) -> bytes:
        """Return a row of pixels, three bytes each: red, green, blue."""
        line = self._pixels[y * self._line : y * self._line + 4 * self.width]
        row = bytearray(3 * self.width)
        row[0::3], row[1::3], row[2::3] = line[2::4], line[1::4], line[0::4]
        return bytes(row)

    def png(self) -> bytes:
        """Return the picture as PNG."""
        rows = b"".join(b"\0" + self.row(y) for y in range(self.height))
        head = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)

    def buttons(self, window: Window) -> list[tuple[int, int]]:
        """Return the middles of a window's buttons, from left to right."""
        y = window.y + window.height - _ROW
        row = self.row(y)
        found: list[tuple[int, int]] = []
        first = last = -1
        for x in [*range(window.x + 2, window.x + window.width - 2), self.width + _GAP]:
            if min(row[3 * x : 3 * x + 3], default=0) >= _WHITE:
                continue
            if x - last > _GAP:
                if last - first >= _BUTTON:
                    found.append(((first + last) // 2, y))
                first = x
            last = x
        return found


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def windows() -> list[Window]:
    """Return the notifications that are shown, from the top.

    The pointer is taken to a corner: a button that it is over is drawn as white as the window.
    """
    corner = ("mousemove", "0", "0")
    found = _xdotool(*corner, "search", "--onlyvisible", "--class", "xfce4-notifyd").split()
    places = []
    for number in found:
        said = _xdotool("getwindowgeometry", "--shell", number)
        values = {
            key: int(value) for key, value in re.findall(r"^(\w+)=(-?\d+)$", said, re.MULTILINE)
        }
        if len(values) > 1:
            places.append(Window(values["X"], values["Y"], values["WIDTH"], values["HEIGHT"]))
    return sorted((w for w in places if w.width > _WINDOW), key=lambda window: window.y)


def _xdotool(*words: str) -> str:
    done = subprocess.run(["xdotool", *words], capture_output=True, text=True, check=False)
    return done.stdout


def click(x: int, y: int) -> None:
    """Click with the first button of the mouse."""
    _xdotool("mousemove", str(x), str(y), "click", "1")


def main(words: list[str]) -> int:
    """Do what the words say; see the module's text."""
    display, framebuffer, what, *rest = words
    os.environ["DISPLAY"] = display
    screen = Screen(Path(framebuffer))
    if what == "png":
        Path(rest[0]).write_bytes(screen.png())
        return 0
    shown = windows()
    if what == "shown":
        rows = [{"place": window, "buttons": screen.buttons(window)} for window in shown]
        print(json.dumps(rows))
    elif what == "press":
        click(*screen.buttons(shown[int(rest[0])])[int(rest[1])])
    elif what == "click":
        window = shown[int(rest[0])]
        click(window.x + window.width - 20, window.y + 15)
    else:
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
