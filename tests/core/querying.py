"""What a query of a loaded policy answers."""

from __future__ import annotations

from dataclasses import replace

from appfwd.core.module import BRIDGE_ATTRIBUTE, FENCED_ATTRIBUTE
from appfwd.model.domain import is_packet_type
from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.slots import Switches, group_attribute, is_group, is_slot, parse_switch
from tests.core.cilreader import Loaded


def queried(loaded: Loaded, base: LoadedPolicy, *, optimizes: bool = False) -> LoadedPolicy:
    """Return what a query of a loaded policy answers."""
    ours = {name: loaded.rights(name) for name in loaded.declared if is_packet_type(name)}
    switches = {name: Switches() for name in ours if is_slot(name)}
    for member, slot in loaded.switches.values():
        switches[slot] = replace(switches[slot], members=switches[slot].members | {member})
    for slot, member in (parse_switch(name) for name, is_on in loaded.booleans.items() if is_on):
        switches[slot] = replace(switches[slot], on=switches[slot].on | {member})
    groups = {
        name: Rights(
            *(frozenset(loaded.members[group_attribute(name, p)]) for p in ("send", "recv"))
        )
        for name in {name for one in switches.values() for name in filter(is_group, one.members)}
    }
    for slot, one in switches.items():
        for member in one.on:
            ours[slot] -= groups.get(member, Rights.both(frozenset({member})))
    bridge = BRIDGE_ATTRIBUTE in loaded.sources
    hidden = Rights.both(base.domains) if bridge and optimizes else Rights()
    fenced = frozenset(loaded.members.get(FENCED_ATTRIBUTE, ()))
    denied = Rights.both(fenced)
    return replace(
        base,
        packet_rights=ours,
        bridge=bridge,
        fenced=fenced,
        unlabeled=base.unlabeled - hidden - denied,
        labels={name: rights - denied for name, rights in base.labels.items()},
        attributes=base.attributes | (loaded.members.keys() - {"domain"}),
        groups=groups,
        switches=switches,
    )
