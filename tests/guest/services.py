"""Real services of a guest, each in the SELinux domain that the distribution's policy gives it.

Their other ends run in the network namespace `peer`, unconfined, as on another machine without
SELinux. `prepare` sets both up, once in a guest; then each function lets a service work, or try
to, and returns how that went. All that is asked of the network is asked anew by each call.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .lab.guest import Guest

OURS, PEER = "10.9.0.1", "10.9.0.5"
OURS6, PEER6 = "fd09::1", "fd09::5"
#: Where dnsmasq gives leases: a link of its own, so that no other address is touched.
LAN_PEER = "10.9.3.1"
#: A host behind `peer`, which forwards to it by a link with a smaller MTU.
FAR, FAR6, FAR_MTU = "10.9.4.2", "fd09:4::2", 1300
#: A name that dnsmasq knows.
NAME = "web.lab.test"
SECONDS = 180.0
POLL_SECONDS = 0.3

_SSH = (
    "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
    "-o LogLevel=ERROR -o ConnectTimeout=20"
)
#: What each policy build makes seusers from; `semanage login` would be a policy build of its own.
_LOGINS = "/var/lib/selinux/default/active/seusers.local"
#: An ordinary user whose sessions are in user_t, with a key that ann's and root's accounts take.
_ACCOUNTS = f"""
useradd -m -s /bin/bash ann
echo 'ann:user_u:s0' | tee -a /etc/selinux/default/seusers >> {_LOGINS}
ssh-keygen -q -t ed25519 -N '' -f /root/key
install -d -m 700 -o ann -g ann /home/ann/.ssh
install -d -m 700 /root/.ssh
install -m 600 -o ann -g ann /root/key.pub /home/ann/.ssh/authorized_keys
install -m 600 -o ann -g ann /root/key /home/ann/.ssh/id_ed25519
install -m 600 /root/key.pub /root/.ssh/authorized_keys
restorecon -R /home/ann /root
chcon -R -u user_u /home/ann
"""
_LINKS = f"""
ip link add lan type veth peer name lan netns peer
ip -n peer address add {LAN_PEER}/24 dev lan
ip -n peer link set lan up
ip link set lan up
ip netns add far
ip -n far link add uplink type veth peer name to-far netns peer
ip -n peer address add 10.9.4.1/24 dev to-far
ip -n peer address add fd09:4::1/64 dev to-far nodad
ip -n peer link set to-far mtu {FAR_MTU} up
ip -n far address add {FAR}/24 dev uplink
ip -n far address add {FAR6}/64 dev uplink nodad
ip -n far link set uplink up
ip -n far route add default via 10.9.4.1
ip -n far route add default via fd09:4::1
nsenter --net=/run/netns/peer sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip route add 10.9.4.0/24 via {PEER}
ip route add fd09:4::/64 via {PEER6}
"""
_FILES = {
    "/root/web/index.html": "hello\n",
    "/root/web/Packages": (
        "Package: lab\nVersion: 1\nArchitecture: all\nMaintainer: lab <lab@lab.test>\n"
        "Description: nothing\nFilename: ./lab.deb\nSize: 1\nSHA256: " + 64 * "0" + "\n"
    ),
    "/etc/apt/sources.list": f"deb [trusted=yes] http://{PEER}/ ./\n",
    "/root/peer-chrony.conf": "local stratum 8\nallow\ncmdport 0\nbindcmdaddress /\n"
    "pidfile /run/peer-chronyd.pid\n",
    "/etc/chrony/sources.d/lab.sources": f"server {PEER} iburst\n",
    "/etc/resolv.conf": "nameserver 127.0.0.53\noptions timeout:3 attempts:1\n",
    "/etc/dhcp/dhclient.conf": "request subnet-mask;\nsupersede dhcp-renewal-time 2;\n",
    "/etc/systemd/resolved.conf.d/lab.conf": f"[Resolve]\nDNS={PEER}\nLLMNR=no\nCache=no\n",
}
#: Or sshd would want a context for its sessions that policy has for its own domain only.
_WITHOUT_SELINUX = ("unshare", "-m", "sh", "-c", 'umount /sys/fs/selinux && exec "$0" "$@"')
_SERVERS = (
    ["/usr/sbin/sshd", "-D", "-o", "PidFile=none", "-o", "UsePAM=no"],
    ["/usr/bin/python3", "-m", "http.server", "--bind", "::", "--directory", "/root/web", "80"],
    ["/usr/sbin/chronyd", "-x", "-d", "-f", "/root/peer-chrony.conf"],
    [
        *("/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv"),
        *("--no-hosts", "--pid-file=", "--user=root", f"--address=/{NAME}/{PEER}"),
        *("--dhcp-range=10.9.3.100,10.9.3.110,120", "--dhcp-leasefile=/run/peer-leases"),
        # It would wait three seconds for another holder of an address.
        "--no-ping",
        # No router and no name server.
        *("--dhcp-option=3", "--dhcp-option=6"),
    ],
)


@dataclass(frozen=True)
class Outcome:
    """How a service's work went."""

    worked: bool
    said: str
    """What its programs said, or why it did not."""
    domain: str = ""
    """The domain that it ran in, as the kernel says; "" where that was not looked at."""

    def __str__(self) -> str:
        return f"{'worked' if self.worked else 'failed'} ({self.domain}): {self.said}"


def prepare(guest: Guest) -> None:
    """Set up accounts, links, files and the servers in `peer`; nothing of the guest's own runs."""
    for path, text in _FILES.items():
        guest.write(path, text)
    guest.run(f"set -e; {_LINKS}", check=True)
    guest.run(f"set -e; {_ACCOUNTS}", check=True, timeout=SECONDS)
    guest.run("sed -i '/^pool /d' /etc/chrony/chrony.conf", check=True)
    for server in _SERVERS:
        guest.spawn([*_WITHOUT_SELINUX, *server], netns="peer")
    listening = "nsenter --net=/run/netns/peer ss -Hltun | grep -cE ':(22|80|53|67|123) '"
    assert _wait(lambda: int(guest.run(listening).out) >= 7), "the servers in peer do not listen"


def ssh_in(guest: Guest, address: str = OURS, command: str = "id -Z") -> Outcome:
    """Log in as ann from `peer`, and run a command in her session."""
    guest.run("systemctl start ssh", check=True, timeout=SECONDS)
    words = f"{_SSH} -i /root/key ann@{address} {command}"
    done = guest.run(words, netns="peer", timeout=SECONDS)
    return Outcome(done.rc == 0, done.out + done.err, _domain(guest, "ssh"))


def ssh_out(guest: Guest, address: str = PEER) -> Outcome:
    """Let ann, who is logged in, log in to `peer`.

    The command there sees her processes, since the machine is the same.
    """
    done = ssh_in(guest, command=f"{_SSH} root@{address} ps -o label=,comm= -u ann")
    found = re.search(r"^\w+:\w+:(\w+):.* ssh$", done.said, re.MULTILINE)
    return Outcome(done.worked, done.said, found[1] if found else "")


def upstream(guest: Guest) -> Outcome:
    """Ask systemd-resolved over the bus; it asks the name server in `peer`."""
    guest.run("systemctl start systemd-resolved", check=True, timeout=SECONDS)
    done = guest.run(["resolvectl", "query", "--legend=no", NAME], timeout=SECONDS)
    worked = done.rc == 0 and PEER in done.out
    return Outcome(worked, done.out + done.err, _domain(guest, "systemd-resolved"))


def stub(guest: Guest, domain: str) -> Outcome:
    """Let a program of a domain look a name up, at systemd-resolved's stub on 127.0.0.53."""
    guest.run("systemctl start systemd-resolved", check=True, timeout=SECONDS)
    done = guest.run_as(domain, ["/usr/bin/getent", "ahostsv4", NAME], timeout=SECONDS)
    return Outcome(done.rc == 0 and PEER in done.out, done.out + done.err, domain)


def dhcp_renewal(guest: Guest) -> Outcome:
    """Let dhclient get a lease on `lan`, by broadcasts, and renew it, by unicast."""
    begun = guest.run("date +%s.%N", check=True).out.strip()
    client = guest.spawn("exec /usr/sbin/dhclient -d lan > /dev/null 2>&1")
    said, label = "", ""
    renewal = re.compile(
        rf"DHCPREQUEST for \S+ on lan to {re.escape(LAN_PEER)} port 67\n(?:.*\n)*?DHCPACK of"
    )

    def over() -> bool:
        nonlocal said, label
        command = f"journalctl -q -o cat -t dhclient --since @{begun}"
        said = guest.run(command, check=True).out
        label = guest.run(f"cat /proc/{client.pid}/attr/current").out or label
        return bool(renewal.search(said)) or "send_packet" in said or client.poll() is not None

    worked = _wait(over) and bool(renewal.search(said))
    client.kill()
    client.wait()
    guest.run("ip address flush dev lan; rm -f /var/lib/dhcp/dhclient.leases", check=True)
    return Outcome(worked, said, _type_of(label))


def ntp(guest: Guest) -> Outcome:
    """Start chronyd anew and wait for an answer of the time server in `peer`."""
    guest.run("systemctl restart chrony", check=True, timeout=SECONDS)
    said = ""

    def over() -> bool:
        nonlocal said
        said = guest.run("chronyc -c -n sources").out
        return said.count(",") > 5 and said.split(",")[5] != "0"

    worked = _wait(over, 20.0)
    return Outcome(worked, said, _domain(guest, "chrony"))


def apt(guest: Guest) -> Outcome:
    """Update apt's lists from the web server in `peer`."""
    guest.run("rm -rf /var/lib/apt/lists/*", check=True)
    options = ["-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Retries=0"]
    outcome = _unit(guest, ["/usr/bin/apt-get", *options, "update"])
    got = guest.run("ls /var/lib/apt/lists").out
    worked = outcome.worked and "Packages" in got
    return Outcome(worked, outcome.said + got, outcome.domain)


def web(guest: Guest, domain: str, host: str = PEER) -> Outcome:
    """Let curl in a domain fetch a page of the web server in `peer`."""
    words = ["/usr/bin/curl", "-sS", "--max-time", "10", f"http://{host}/"]
    done = guest.run_as(domain, words, timeout=SECONDS)
    return Outcome(done.out == "hello\n", done.out + done.err, domain)


def ping(guest: Guest, address: str = PEER) -> Outcome:
    """Let a service ping an address."""
    return _unit(guest, ["/usr/bin/ping", "-c", "2", "-i", "2", "-W", "3", address])


def path_mtu(guest: Guest, domain: str, address: str = FAR) -> Outcome:
    """Let a domain send much to a host behind a link whose MTU is smaller than ours.

    It worked if all arrived, and the route's MTU was learnt from the router's ICMP error.
    """
    guest.run("ip route flush cache; ip -6 route flush cache", check=True)
    server = guest.probe.serve((address, 80), netns="far", echo=False)
    attempt = guest.probe.open(domain, server.address)
    much = bytes(100_000)
    if attempt.ok:
        attempt.opened().send(much, seconds=10)
        _wait(lambda: server.state().octets == len(much), 15.0)
        attempt.opened().close()
    arrived = server.state().octets
    server.close()
    route = guest.run(["ip", "route", "get", address], check=True).out
    worked = arrived == len(much) and f"mtu {FAR_MTU}" in route
    return Outcome(worked, f"{attempt.outcome}, {arrived} octets, {route}", domain)


def neighbours(guest: Guest, domain: str) -> Outcome:
    """Let both ends forget each other's IPv6 neighbour, and fetch a page."""
    forget = "ip -6 neigh flush all"
    guest.run(f"{forget}; nsenter --net=/run/netns/peer {forget}", check=True)
    outcome = web(guest, domain, f"[{PEER6}]")
    found = guest.run(["ip", "-6", "neigh", "show", "to", PEER6]).out
    worked = outcome.worked and "lladdr" in found
    return Outcome(worked, outcome.said + found, domain)


def loopback(guest: Guest, domain: str, address: str = "127.0.0.1") -> Outcome:
    """Let curl in a domain fetch a page of a web proxy, squid_t, on a loopback address."""
    page = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"
    server = guest.probe.serve((address, 3128), domain="squid_t", greeting=page)
    host = f"[{address}]" if ":" in address else address
    outcome = web(guest, domain, f"{host}:3128")
    server.close()
    return outcome


#: What is tried, and the domain that the policy runs it in.
KINDS: Mapping[str, tuple[str, Callable[[Guest], Outcome]]] = {
    "ssh in": ("sshd_t", ssh_in),
    "ssh out": ("ssh_t", ssh_out),
    "DNS": ("systemd_resolved_t", upstream),
    "DNS by the stub": ("mozilla_t", lambda guest: stub(guest, "mozilla_t")),
    "DHCP": ("dhcpc_t", dhcp_renewal),
    "NTP": ("chronyd_t", ntp),
    "apt": ("apt_t", apt),
    "ping": ("ping_t", ping),
    "ping, IPv6": ("ping_t", lambda guest: ping(guest, PEER6)),
    "path MTU": ("mozilla_t", lambda guest: path_mtu(guest, "mozilla_t")),
    "path MTU, IPv6": ("mozilla_t", lambda guest: path_mtu(guest, "mozilla_t", FAR6)),
    "neighbour discovery": ("mozilla_t", lambda guest: neighbours(guest, "mozilla_t")),
    "loopback": ("mozilla_t", lambda guest: loopback(guest, "mozilla_t")),
    "loopback, IPv6": ("mozilla_t", lambda guest: loopback(guest, "mozilla_t", "::1")),
}


def _unit(guest: Guest, words: Sequence[str]) -> Outcome:
    """Run a program as a service, which puts it into the domain of its file."""
    name = f"lab-{time.monotonic_ns()}"
    start = ["systemd-run", "-q", "--wait", "--collect", f"--unit={name}", "-p", "Type=exec"]
    service = guest.spawn([*start, *words])
    domain = ""

    def seen() -> bool:
        nonlocal domain
        domain = _domain(guest, name)
        return domain not in {"", "init_t"} or service.poll() is not None

    _wait(seen)
    status = service.wait(SECONDS)
    said = guest.run(f"journalctl -q -o cat -u {name}", check=True).out
    return Outcome(status == 0, f"{said}{service.output()}", domain)


def _domain(guest: Guest, unit: str) -> str:
    """Return the domain of a unit's main process; "" if there is none."""
    return _type_of(guest.run(f"cat /proc/$(systemctl show -P MainPID {unit})/attr/current").out)


def _type_of(context: str) -> str:
    return context.split(":")[2] if context.count(":") > 2 else ""


def _wait(over: Callable[[], bool], seconds: float = SECONDS) -> bool:
    """Wait until something is over; False if it is not in time."""
    deadline = time.monotonic() + seconds
    while not over():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
