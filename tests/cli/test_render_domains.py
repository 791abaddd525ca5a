"""What runs, as text: a line for each domain for programs, one for each connection for people."""

from __future__ import annotations

from typing import Any

from appfwd.cli.render import render
from tests.cli.cells import cells

CONNECTED: dict[str, Any] = {
    "direction": "out",
    "destination": "10.0.0.5:3128/tcp",
    "protocol": "tcp",
    "local": "10.0.0.1",
    "local_port": 40_000,
    "peer": "10.0.0.5",
    "peer_port": 3128,
    "namespace": 0,
}
RUNNING: dict[str, Any] = {
    "domain": "mozilla_t",
    "programs": ["/usr/bin/curl", "/usr/bin/firefox"],
    "more_programs": 3,
    "processes": 7,
    "grants": 2,
    "connections": [
        CONNECTED,
        {**CONNECTED, "local_port": 40_001},
        {**CONNECTED, "direction": "in", "destination": "10.0.0.9:22/tcp", "namespace": 42},
    ],
    "more_connections": 1,
    "complete": True,
    "fenced": False,
}
IDLE = {**RUNNING, "domain": "a_t", "programs": [], "connections": []}
IDLE |= {"more_programs": 0, "more_connections": 0}


def test_a_domain_for_programs_is_one_line() -> None:
    first, second = cells("domains", RUNNING, IDLE)
    assert first == [
        *("mozilla_t", "7", "2"),
        "out 10.0.0.5:3128/tcp (2 times), in 10.0.0.9:22/tcp in namespace 42, and 1 more",
        "/usr/bin/curl, /usr/bin/firefox, and 3 more",
    ]
    assert second == ["a_t", "7", "2", "", ""]


def test_a_fence_stands_with_the_grants() -> None:
    ((_, _, grants, *_),) = cells("domains", {**RUNNING, "fenced": True})
    assert grants == "2 (fenced)"


def test_a_domain_for_people_has_a_line_for_each_connection_and_program() -> None:
    rows = [RUNNING, IDLE, {**IDLE, "domain": "b_t", "complete": False}]
    header, *lines = render("domains", rows, terminal=True).splitlines()
    assert header.split() == ["DOMAIN", "PROCESSES", "GRANTS", "CONNECTED", "PROGRAMS"]
    assert [line.split(maxsplit=3) for line in lines] == [
        ["mozilla_t", "7", "2", lines[0][header.index("CONNECTED") :]],
        ["in", "10.0.0.9:22/tcp", "in", "namespace 42  /usr/bin/firefox"],
        ["and", "1", "more", "and 3 more".rjust(len("and 3 more"))],
        ["a_t", "7", "2"],
        ["b_t", "7", "2"],
        ["(not", "all", "of", "it could be read)"],
    ]
    assert lines[0].endswith("out 10.0.0.5:3128/tcp (2 times)     /usr/bin/curl")
    assert lines[1].startswith(" " * header.index("CONNECTED") + "in 10.0.0.9")
