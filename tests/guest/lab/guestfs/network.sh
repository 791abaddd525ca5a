#!/bin/bash
# The lab's network: namespaces `peer` and `peer2`, each joined to the main one by a veth pair.
set -eu

modprobe -a dummy veth nf_tables nft_ct nft_log nft_compat nf_log_syslog nf_conntrack \
    nf_conntrack_netlink xt_SECMARK xt_CONNSECMARK xt_conntrack iptable_mangle iptable_security \
    ip6table_mangle
sysctl -q kernel.printk_ratelimit=0 kernel.printk_devkmsg=on

# Neighbour discovery's own packets would only be noise in the log.
quiet() {
    sysctl -q net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.router_solicitations=0
}

join() { # namespace, interface, network of IPv4, network of IPv6, peer's host numbers
    local name=$1 link=$2 net4=$3 net6=$4
    shift 4
    ip netns add "$name"
    nsenter --net="/run/netns/$name" bash -c "$(declare -f quiet); quiet; ip link set lo up"
    ip link add "$link" type veth peer name "$link" netns "$name"
    ip address add "$net4.1/24" dev "$link"
    ip address add "$net6::1/64" dev "$link" nodad
    ip link set "$link" up
    for host in "$@"; do
        ip -n "$name" address add "$net4.$host/24" dev "$link"
        ip -n "$name" address add "$net6::$host/64" dev "$link" nodad
    done
    ip -n "$name" link set "$link" up
}

quiet
ip link set lo up
join peer to-peer 10.9.0 fd09 5 6
join peer2 to-peer2 10.9.1 fd09:1 5
