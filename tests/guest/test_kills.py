"""Killed between any two of its acts, the daemon comes back to a desired state."""

import time
from collections.abc import Iterator

import pytest

from .firewall import SECONDS, Firewall
from .lab.guest import Guest
from .place import HOST, PLACE, PORT, holds, only_mozilla, reaching

DROP_INS = "/run/systemd/system/appfwd.service.d"
MOMENT = "/var/lib/appfwd/.moment"
#: Runs the daemon as it is, but where a moment is set when a request comes, it ends by SIGKILL
#: before or after its n-th act on the outside from then on.
KILLER = f"""#!/usr/bin/python3
import os, signal, sys
from pathlib import Path
from appfwd import daemon
from appfwd.adapters.nft import LibNft
from appfwd.adapters.semodule import Semodule
from appfwd.adapters.store import SqliteStore
from appfwd.reconciler import Reconciler

moment, where, acts = Path({MOMENT!r}), [], 0

def deadly(owner, name):
    act = getattr(owner, name)
    async def wrapped(*arguments):
        global acts
        acts += bool(where)
        if where == ['before', str(acts)]:
            os.kill(os.getpid(), signal.SIGKILL)
        result = await act(*arguments)
        if where == ['after', str(acts)]:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, wrapped)

for owner, name in ((LibNft, 'run'), (Semodule, 'install'), (Semodule, 'remove'),
                    (SqliteStore, 'save')):
    deadly(owner, name)

submit = Reconciler.submit

async def arm(*arguments):
    global where
    if not where and moment.exists():
        where = moment.read_text().split()
    return await submit(*arguments)

Reconciler.submit = arm
sys.exit(daemon.main())
"""
_KEEPS = (
    "for i in $(seq 100); do nft list chain inet appfwd output_kept 2>/dev/null"
    " | grep -q accept && exit 0; nft list table inet appfwd 2>/dev/null"
    " | grep -q output_kept || exit 0; sleep 0.1; done; exit 1"
)


@pytest.fixture(scope="module", autouse=True)
def server(firewall: Firewall) -> None:
    firewall.guest.probe.serve((HOST, PORT), netns="peer")


@pytest.fixture
def killer(firewall: Firewall, guest: Guest) -> Iterator[Guest]:
    """Yield the guest with a daemon that ends itself once :func:`kill_at` has said where."""
    arm(guest)
    yield guest
    disarm(firewall)


def arm(guest: Guest) -> None:
    """Run the daemon by what :func:`kill_at` tells when to end."""
    if guest.run(f"test -e {DROP_INS}/killer.conf").rc == 0:
        return
    guest.run(f"install -d {DROP_INS}", check=True)
    guest.write("/usr/sbin/appfwd-killer", KILLER, 0o755)
    unit = "[Service]\nExecStart=\nExecStart=/usr/sbin/appfwd-killer\nRestart=no\n"
    guest.write(f"{DROP_INS}/killer.conf", unit)
    guest.run(
        "chcon -t appfwd_exec_t /usr/sbin/appfwd-killer;"
        "systemctl daemon-reload; systemctl restart appfwd",
        check=True,
        timeout=SECONDS,
    )


def kill_at(guest: Guest, moment: str) -> None:
    """Have the daemon end itself in the next change, at a moment such as `after 2`."""
    guest.run(_KEEPS, check=True)  # no act of the change before is to come
    guest.write(MOMENT, moment)


def disarm(firewall: Firewall) -> None:
    """Restart the daemon as one that runs on."""
    if firewall.guest.run(f"rm {MOMENT}").rc == 0:
        firewall.restart()


def as_shipped(firewall: Firewall) -> None:
    """Restart the daemon by its own unit, as it is shipped."""
    firewall.guest.run(f"rm -rf {DROP_INS}; systemctl daemon-reload", check=True)
    firewall.restart()


STATES = {
    "guard": {("mozilla_t", "named_t", "irc_t", ""), ()},
    "grant": {(), ("mozilla_t",)},
    "revoke": {("mozilla_t",), ()},
}


@pytest.mark.parametrize("moment", ["before 1", "after 1", "after 2"])
@pytest.mark.parametrize("change", ["guard", "grant", "revoke"])
def test_killed_between_any_two_acts_it_ends_in_a_desired_state(
    firewall: Firewall, killer: Guest, change: str, moment: str
) -> None:
    if change != "guard":
        firewall.guard(PLACE)
    if change == "revoke":
        firewall.grant("mozilla_t", PLACE)
    kill_at(killer, moment)
    arguments = [PLACE, "0"] if change == "guard" else ["mozilla_t", PLACE, "0"]
    signature = "sa{sv}" if change == "guard" else "ssa{sv}"
    result = firewall.call(change.title(), signature, *arguments, check=False)
    assert result.rc != 0, "it was killed before it replied"
    # What the kernel has is the old state or the new one; nothing beyond.
    now = reaching(killer)
    assert now in STATES[change]
    disarm(firewall)
    entries = firewall.entries()
    allowed = tuple(d for _, d, _, _ in entries if d)
    if ("guard", "", "out", PLACE) in entries:
        holds(killer, *allowed)
    else:
        assert killer.probe.reach("irc_t", (HOST, PORT)) == "ok"
    stored_new = moment == "after 2"
    assert (("guard", "", "out", PLACE) in entries) is (change != "guard" or stored_new)
    assert (("grant", "mozilla_t", "out", PLACE) in entries) is (
        {"guard": False, "grant": stored_new, "revoke": not stored_new}[change]
    )


@pytest.mark.parametrize("moment", ["after 1", "after 2", "after 3"])
def test_killed_around_a_policy_load(firewall: Firewall, killer: Guest, moment: str) -> None:
    """A domain's first grant beside another's needs one: it is enrolled for slots with it."""
    firewall.guard(PLACE)
    firewall.grant("mozilla_t", PLACE)
    newcomers = {"after 1": "NetworkManager_t", "after 2": "chronyd_t", "after 3": "fetchmail_t"}
    newcomer = newcomers[moment]
    kill_at(killer, moment)
    assert firewall.call("Grant", "ssa{sv}", newcomer, PLACE, "0", check=False).rc != 0
    assert killer.probe.reach("irc_t", (HOST, PORT)) == "ECONNREFUSED"
    disarm(firewall)
    stored = moment == "after 3"
    assert (("grant", newcomer, "out", PLACE) in firewall.entries()) is stored
    assert killer.probe.reach(newcomer, (HOST, PORT)) == ("ok" if stored else "ECONNREFUSED")
    assert killer.probe.reach("mozilla_t", (HOST, PORT)) == "ok"


def test_killed_at_any_time_under_load(firewall: Firewall, guest: Guest) -> None:
    as_shipped(firewall)
    only_mozilla(firewall)
    toggling = guest.spawn(
        "while :; do for m in Grant Revoke; do busctl call org.appfwd1 /org/appfwd1 "
        "org.appfwd1.Manager $m 'ssa{sv}' named_t 198.51.100.1:80 0; done; done"
    )
    for number in range(3):
        time.sleep(0.4 + 0.37 * number)
        guest.run("systemctl kill -s KILL appfwd")
        assert guest.probe.reach("irc_t", (HOST, PORT)) == "ECONNREFUSED"
        guest.run("systemctl reset-failed appfwd; systemctl start appfwd", timeout=SECONDS)
    toggling.kill()
    firewall.restart()
    holds(guest, "mozilla_t")
    assert firewall.json("status")["Problem"] == ""
