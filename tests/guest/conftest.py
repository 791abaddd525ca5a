"""Fixtures: guests restored from snapshots, and what they said when a test fails."""

from collections.abc import Generator, Iterator

import pytest

from .firewall import Firewall, installed_snapshot
from .lab.errors import LabError
from .lab.guest import Guest
from .lab.store import Snapshot, base_snapshot, restore

AVCS_SHOWN = 30


@pytest.fixture(scope="session")
def base() -> Snapshot:
    """Return the snapshot of a booted guest with nothing of ours in it."""
    return base_snapshot()


@pytest.fixture(scope="module")
def base_guest(base: Snapshot) -> Iterator[Guest]:
    """Yield a guest for a module's tests."""
    with restore(base) as guest:
        yield guest


@pytest.fixture
def fresh_guest(base: Snapshot) -> Iterator[Guest]:
    """Yield a guest for one test."""
    with restore(base) as guest:
        yield guest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what each guest said to the report of a failed test."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for name, value in item.funcargs.items():
            if isinstance(value, Guest):
                report.sections += [(f"{name}: {title}", text) for title, text in _said(value)]
            if isinstance(value, Firewall):
                report.sections.append(("journal of appfwd", value.journal()))
    return report


def _said(guest: Guest) -> list[tuple[str, str]]:
    sections = [("console", guest.console())]
    try:
        avcs = guest.avcs()[-AVCS_SHOWN:]
        sections.append(("AVC records", "\n".join(str(avc) for avc in avcs)))
    except LabError as error:
        sections.append(("AVC records", f"none: {error}"))
    return sections


@pytest.fixture(scope="session")
def installed(base: Snapshot) -> Snapshot:
    """Return the snapshot of a guest with the daemon running and nothing guarded."""
    return installed_snapshot(base)


@pytest.fixture(scope="module")
def firewall(installed: Snapshot) -> Iterator[Firewall]:
    """Yield a running daemon for a module's tests."""
    with restore(installed) as guest:
        yield Firewall(guest)


@pytest.fixture
def guest(firewall: Firewall) -> Guest:
    """Return the guest of the running daemon, once nothing is guarded or granted any more."""
    firewall.clear()
    return firewall.guest
