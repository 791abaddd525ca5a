"""A made-up /proc, with processes above appfwctl as a login over ssh makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: The process id of appfwctl there.
SELF = 900
SSHD = "system_u:system_r:sshd_t:s0-s0:c0.c1023"
STAFF = "staff_u:staff_r:staff_t:s0"
TOLD = "192.0.2.7 50022 192.0.2.1 22"


@dataclass(frozen=True)
class Process:
    """A process: its name, its security context, and its environment."""

    name: str
    context: str = STAFF
    environment: Mapping[str, str] = field(default_factory=dict)


SHELL = Process("bash", environment={"HOME": "/root", "SSH_CONNECTION": TOLD})
#: From appfwctl upwards, with sudo in between, which passes no environment on.
LOGIN = (
    Process("sudo"),
    SHELL,
    Process("sshd-session", SSHD),
    Process("sshd-session", SSHD),
    Process("sshd", "system_u:system_r:init_t:s0"),
    Process("systemd", "system_u:system_r:init_t:s0"),
)


def make(folder: Path, above: Sequence[Process]) -> Path:
    """Write processes above :data:`SELF`, the nearest first; return what stands for /proc."""
    numbers = [SELF, *(SELF - 100 - n for n in range(len(above) - 1)), *([1] if above else [])]
    for number, parent in zip(numbers, [*numbers[1:], 0], strict=True):
        status = f"Name:\tx\nUmask:\t0022\nState:\tS (sleeping)\nPid:\t{number}\nPPid:\t{parent}\n"
        _write(folder / str(number), {"status": status})
    for number, process in zip(numbers[1:], above, strict=True):
        variables = "".join(f"{name}={value}\0" for name, value in process.environment.items())
        texts = {"comm": f"{process.name}\n", "environ": variables}
        _write(folder / str(number), texts | {"attr/current": f"{process.context}\0"})
    return folder


def _write(process: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        path = process / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, newline="")
