"""Bad input, people who may not, a leaking policy, a full disk: an error, nothing changed."""

from collections.abc import Iterator

import pytest

from .firewall import SECONDS, Firewall
from .lab.guest import Guest

HOST, PORT = "10.9.0.5", 3128
PLACE = f"{HOST}:{PORT}"
CULPRIT = """(typeattributeset cil_gen_require irc_t)
(typeattributeset cil_gen_require appfwd_packet_type)
(allow irc_t appfwd_packet_type (packet (send recv)))
"""


@pytest.fixture(scope="module")
def guest(firewall: Firewall) -> Guest:
    """Return the guest, in which one domain alone reaches one place."""
    firewall.guard(PLACE)
    firewall.grant("mozilla_t", PLACE)
    return firewall.guest


@pytest.fixture(scope="module")
def before(firewall: Firewall, guest: Guest) -> tuple[set[tuple[str, ...]], str]:
    """Return what is held and in force before the first test."""
    assert guest is firewall.guest
    return firewall.entries(), firewall.table()


@pytest.fixture(autouse=True)
def state(
    firewall: Firewall, guest: Guest, before: tuple[set[tuple[str, ...]], str]
) -> Iterator[None]:
    """Hold that whatever a test asked for was refused without a trace."""
    yield
    assert (firewall.entries(), firewall.table()) == before
    assert guest.run("systemctl is-active appfwd").out == "active\n"


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["grant", "mozila_t", PLACE], 3, "Near names: mozilla_t"),
        (["grant", "domain", PLACE], 3, "is an attribute"),
        (["grant", "etc_t", PLACE], 3, "of no process"),
        (["grant", "moz illa_t", PLACE], 2, "cannot be the name of a domain"),
        (["grant", "mozilla_t)(allow a b (c (d)))", PLACE], 2, "cannot be the name"),
        (["guard", "10.0.0.5:99999"], 2, "at character 10: a port is a number"),
        (["guard", "10.0.0.5/8"], 2, "write 10.0.0.0/8"),
        (["guard", "2001:db8::1:443"], 2, "stand in brackets"),
        (["guard", "example.org:443"], 2, "at character 1"),
        (["guard", '10.0.0.1" ; flush ruleset'], 2, "at character 9"),
        (["guard", "10.0.0.1\n:80"], 2, "at character 9"),
        (["guard", ""], 2, "it is empty"),
        (["guard", "9" * 100_000], 2, "too long"),
        (["revoke", "mozilla_t", f"{HOST}:80"], 4, "mozilla_t has no grant"),
        (["revoke", "mozilla_t", f"{HOST}:{PORT}/tcp"], 4, f"a wider one exists: {PLACE}"),
        (["unguard", f"{HOST}"], 4, f"narrower ones exist: {PLACE}"),
        (["grant", "--in", "mozilla_t"], 2, "required"),
        (["frobnicate"], 2, "invalid choice"),
    ],
)
def test_what_appfwctl_refuses_it_explains(
    firewall: Firewall, words: list[str], status: int, says: str
) -> None:
    result = firewall.ctl(*words, check=False)
    assert result.rc == status, result
    assert says in result.err, result


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["Guard", "s", "10.0.0.1"], "takes the signature"),
        (["Guard", "sa{sv}", "10.0.0.1", "1", "colour", "s", "red"], "no option 'colour'"),
        (["Guard", "sa{sv}", "10.0.0.1", "1", "direction", "s", "up"], "is 'in' or 'out'"),
        (["Guard", "sa{sv}", "10.0.0.1", "1", "direction", "u", "1"], "must be of type"),
        (["SetBridge", "sa{sv}", "ajar", "0"], "is 'open', 'observed' or 'closed'"),
        (["Explode", "", ""], "no such method"),
    ],
)
def test_what_the_bus_is_asked_wrongly_is_refused(
    firewall: Firewall, words: list[str], says: str
) -> None:
    result = firewall.call(words[0], words[1], *words[2:], check=False)
    assert result.rc != 0
    assert says in result.err


def test_a_user_who_may_not_is_told_so_and_may_not_even_read(guest: Guest) -> None:
    for words in (
        ["guard", "10.0.0.1"],
        ["revoke", "mozilla_t", PLACE],
        ["down", "--yes"],
        ["list"],
        ["status"],
    ):
        command = ["runuser", "-u", "nobody", "--", "appfwctl", *words]
        result = guest.run(command, timeout=SECONDS)
        assert result.rc == 5, result
        assert "You are not authorised (org.appfwd1." in result.err


def test_a_user_whom_a_rule_allows_one_thing_may_do_that_one(guest: Guest) -> None:
    guest.write(
        "/etc/polkit-1/rules.d/10-test.rules",
        'polkit.addRule(function(action, subject) { if (action.id == "org.appfwd1.list" '
        '&& subject.user == "nobody") return polkit.Result.YES; });\n',
    )
    guest.run("restorecon -R /etc/polkit-1; systemctl restart polkit", check=True)
    try:
        as_nobody = ["runuser", "-u", "nobody", "--", "appfwctl"]
        assert guest.run([*as_nobody, "list"], timeout=SECONDS).rc == 0
        assert guest.run([*as_nobody, "guard", "10.0.0.1"], timeout=SECONDS).rc == 5
    finally:
        guest.run("rm /etc/polkit-1/rules.d/10-test.rules; systemctl restart polkit", check=True)


def test_a_policy_that_opens_our_packets_to_another_is_found_out(
    firewall: Firewall, guest: Guest
) -> None:
    guest.write("/root/culprit.cil", CULPRIT)
    guest.run("semodule -i /root/culprit.cil", check=True, timeout=SECONDS)
    try:
        result = firewall.ctl("guard", "198.51.100.1", check=False)
        assert result.rc == 8, result
        assert "irc_t may send" in result.err
        assert "appfwctl" in result.err
        assert "sesearch -A" in result.err
    finally:
        guest.run("semodule -r culprit", check=True, timeout=SECONDS)
    firewall.guard("198.51.100.1")
    firewall.unguard("198.51.100.1")


def test_a_full_disk_leaves_the_old_state_in_force(firewall: Firewall, guest: Guest) -> None:
    guest.run(
        "mount -t tmpfs -o size=64k,context=system_u:object_r:appfwd_var_lib_t:s0 tmpfs /mnt "
        "&& systemctl stop appfwd && cp -a /var/lib/appfwd/state.db /mnt/ "
        "&& mount --bind /mnt /var/lib/appfwd && systemctl start appfwd "
        "&& dd if=/dev/zero of=/mnt/fill bs=1k count=64; true",
        timeout=SECONDS,
    )
    try:
        result = firewall.call("Guard", "sa{sv}", "198.51.100.2", "0", check=False)
        assert "state.db" in result.err, result
        assert "Is the disk full?" in result.err
        result = firewall.ctl("guard", "198.51.100.2", check=False)
        assert result.rc == 12, result
        assert "Is the disk full?" in result.err
        assert guest.probe.open("irc_t", (HOST, PORT)).outcome == "ECONNREFUSED"
    finally:
        guest.run(
            "systemctl stop appfwd; umount /var/lib/appfwd /mnt; systemctl start appfwd",
            check=True,
            timeout=SECONDS,
        )


def test_a_failing_policy_build_leaves_the_old_state_in_force(
    firewall: Firewall, guest: Guest
) -> None:
    guest.write("/root/broken.cil", "(allow nothing_t nothing_t (file (read)))\n")
    store = "/var/lib/selinux/default/active/modules/400/broken"
    guest.run(
        f"install -d {store} && cp /root/broken.cil {store}/cil && printf cil > {store}/lang_ext",
        check=True,
    )
    try:
        firewall.call("Guard", "sa{sv}", "198.51.100.3", "0")  # costs no load
        result = firewall.ctl("grant", "fetchmail_t", PLACE, check=False)  # costs one
        assert result.rc == 9, result
        assert "the old one is in force" in result.err
    finally:
        guest.run(f"rm -r {store}", check=True)
        firewall.unguard("198.51.100.3")


def test_a_held_module_store_is_waited_for(firewall: Firewall, guest: Guest) -> None:
    holder = guest.spawn("flock /var/lib/selinux/default/semanage.trans.LOCK sleep 12")
    firewall.grant("fetchmail_t", PLACE)  # its first one, which needs the store
    assert holder.wait(60) == 0
    firewall.revoke("fetchmail_t", PLACE)


def test_with_the_bridge_closed_only_policy_and_grants_let_anybody_pass(
    firewall: Firewall, guest: Guest
) -> None:
    server = guest.probe.serve(("10.9.0.6", 4000), netns="peer")
    assert guest.probe.reach("irc_t", ("10.9.0.6", 4000)) == "ok"
    firewall.ctl("bridge", "close")
    try:
        assert guest.probe.reach("irc_t", ("10.9.0.6", 4000)) == "ECONNREFUSED"
        assert firewall.ctl("bridge").out == "closed\n"
        firewall.grant("irc_t", "10.9.0.6:4000")
        firewall.grant("irc_t", "any:4000", inbound=True)
        assert guest.probe.reach("irc_t", ("10.9.0.6", 4000)) == "ok"
        assert guest.probe.reach("named_t", ("10.9.0.6", 4000)) == "ECONNREFUSED"
        firewall.revoke("irc_t", "10.9.0.6:4000")
        firewall.revoke("irc_t", "any:4000", inbound=True)
        assert guest.probe.reach("irc_t", ("10.9.0.6", 4000)) == "ECONNREFUSED"
    finally:
        firewall.ctl("bridge", "open")
    assert guest.probe.reach("irc_t", ("10.9.0.6", 4000)) == "ok"
    server.close()
