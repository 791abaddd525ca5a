"""Only mozilla_t reaches the proxy, and only postgresql_t is reached on its port."""

from .stage import Stage

PROXY, PORT = "10.9.0.5", 3128
PLACE = f"{PROXY}:{PORT}"
#: What the servers say first, so that curl knows when it has all of it and ends.
GREETING = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"


def main_job(stage: Stage) -> None:
    """Guard, grant, list, explain, revoke; IPv6, inbound; the firewall outlives its daemon."""
    guest = stage.guest
    for address in (PROXY, "fd09::5"):
        guest.probe.serve((address, PORT), netns="peer", greeting=GREETING)
        guest.probe.serve((address, PORT), kind="udp", netns="peer")
    stage.say("A real SELinux kernel, enforcing, with the distribution's policy")
    stage.command("uname -r; getenforce; nft --version; appfwctl status", says="Enforcing")
    stage.say(f"Nothing is guarded: everybody reaches the proxy at {PLACE}")
    for domain in ("mozilla_t", "chromium_t"):
        stage.program(domain, curl(PROXY), "curl", reaches=True)
    stage.say("Guard the proxy: from now on nobody reaches it")
    stage.command(f"appfwctl guard {PLACE}")
    for domain in ("mozilla_t", "chromium_t"):
        stage.program(domain, curl(PROXY), "curl", reaches=False)
    stage.say("But mozilla_t")
    stage.command(f"appfwctl grant mozilla_t {PLACE}")
    for name, words in (("curl", curl(PROXY)), ("python", python(PROXY)), ("nc", nc(PROXY))):
        stage.program("mozilla_t", words, name, reaches=True)
        stage.program("chromium_t", words, name, reaches=False)
    stage.command("appfwctl list", says="mozilla_t")
    stage.command("appfwctl rules", says="appfwd_only_mozilla_t_packet_t")
    stage.command(f"appfwctl explain chromium_t {PLACE}", status=20, says="denied")
    _revoke(stage)
    _others(stage)
    _outlives(stage)


def _revoke(stage: Stage) -> None:
    stage.say("Revoke: its open connection stops at the next packet")
    probe = stage.guest.probe
    socket = probe.open("mozilla_t", (PROXY, PORT)).opened()
    socket.receive()
    stage.probe("mozilla_t's open connection, before", socket.echo().outcome, "ok")
    stage.command(f"appfwctl revoke mozilla_t {PLACE}")
    stage.probe("mozilla_t's open connection, after", socket.echo(seconds=0.5).outcome, "TIMEOUT")
    stage.program("mozilla_t", curl(PROXY), "curl", reaches=False)
    stage.command(
        "busctl call org.appfwd1 /org/appfwd1 org.appfwd1.Manager Grant 'ssa{sv}' "
        f"mozilla_t {PLACE} 0"
    )
    stage.program("mozilla_t", curl(PROXY), "curl", reaches=True)


def _others(stage: Stage) -> None:
    probe = stage.guest.probe
    stage.say("The same for IPv6 and UDP")
    stage.command(f"appfwctl guard '[fd09::5]:{PORT}/udp'")
    for domain in ("mozilla_t", "chromium_t"):
        outcome = probe.reach(domain, ("fd09::5", PORT), kind="udp")
        stage.probe(f"{domain} over IPv6 and UDP", outcome, "ECONNREFUSED")
        stage.probe(f"{domain} over IPv6 and TCP", probe.reach(domain, ("fd09::5", PORT)), "ok")
    stage.say("Inbound: only postgresql_t may be reached on 5432, from 10.9.0.0/24 only")
    stage.command("appfwctl guard --in any:5432")
    stage.command("appfwctl grant --in postgresql_t 10.9.0.0/24:5432")
    for domain, wanted in (("postgresql_t", "ok"), ("squid_t", "TIMEOUT")):
        server = probe.serve(("10.9.0.1", 5432), domain=domain)
        outcome = probe.reach("", ("10.9.0.1", 5432), netns="peer", seconds=0.5)
        stage.probe(f"a peer at 10.9.0.5 to {domain} on 5432", outcome, wanted)
        server.close()
    far = probe.serve(("10.9.1.1", 5432), domain="postgresql_t")
    outcome = probe.reach("", ("10.9.1.1", 5432), netns="peer2", seconds=0.5)
    stage.probe("a peer at 10.9.1.5 to postgresql_t on 5432", outcome, "TIMEOUT")
    far.close()


def _outlives(stage: Stage) -> None:
    stage.say("The firewall outlives its daemon, and what others do to nftables")
    stage.command("nft flush ruleset")
    stage.command("systemctl stop appfwd")
    stage.program("chromium_t", curl(PROXY), "curl", reaches=False)
    stage.program("mozilla_t", curl(PROXY), "curl", reaches=True)
    stage.command("systemctl start appfwd; appfwctl list", says="postgresql_t")


def curl(host: str) -> list[str]:
    """Return the words of a curl that shows what the server says."""
    return ["/usr/bin/curl", "-sS", "-m", "5", f"http://{host}:{PORT}/"]


def python(host: str) -> list[str]:
    """Return the words of a Python that shows what the server says."""
    return [
        "/usr/bin/python3",
        "-c",
        (
            f"import socket; s = socket.create_connection(('{host}', {PORT}), 5);"
            "print(s.recv(99).decode())"
        ),
    ]


def nc(host: str) -> list[str]:
    """Return the words of a netcat that shows what the server says."""
    return ["/bin/bash", "-c", f"echo | /usr/bin/nc -N -w 5 {host} {PORT}"]
