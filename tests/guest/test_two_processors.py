"""What a change promises where packets are on their way on another processor meanwhile."""

from collections.abc import Iterator

import pytest

from .firewall import Firewall, installed_snapshot
from .hammer import passes_nothing_after_a_revoke
from .lab.guest import Guest
from .lab.store import base_snapshot, restore
from .place import HOST, PORT


@pytest.fixture(scope="module")
def firewall() -> Iterator[Firewall]:
    """Yield a running daemon in a guest of two processors."""
    with restore(installed_snapshot(base_snapshot(processors=2))) as guest:
        yield Firewall(guest)


@pytest.mark.parametrize("sender", [0, 1])
def test_nothing_passes_after_the_reply_of_a_revoke(
    firewall: Firewall, guest: Guest, sender: int
) -> None:
    """The daemon commits on one processor while the other sends; and so do epochs begin."""
    assert guest.run("nproc", check=True).out == "2\n"
    daemon = "$(systemctl show -P MainPID appfwd)"
    guest.run(f"taskset -acp {1 - sender} {daemon}", check=True)
    server = guest.probe.serve((HOST, PORT + sender), kind="udp", netns="peer")
    firewall.guard(f"{HOST}:{PORT + sender}")
    passes_nothing_after_a_revoke(guest, (HOST, PORT + sender), rounds=24, processor=sender)
    server.close()
