"""The D-Bus interface as data: every member, its signature and its polkit action.

The daemon answers introspection from here and dispatches by it; ``dbus/org.appfwd1.Manager.xml``
and ``docs/dbus.md`` are held against it by tests. A method without an action cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

BUS_NAME = "org.appfwd1"
PATH = "/org/appfwd1"
INTERFACE = "org.appfwd1.Manager"
#: Of signals that go to registered agents alone.
AGENT_INTERFACE = "org.appfwd1.Agent"
#: Reading a property is a request like any other, and has its action too.
PROPERTY_ACTION = "org.appfwd1.status"

Arguments = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Method:
    """A method: (name, type) of its arguments and results, and the polkit action it needs.

    ``wider`` is the action of a call that gives more than it was asked about; else ``action`` is.
    """

    name: str
    takes: Arguments
    gives: Arguments
    action: str
    wider: str = ""

    @property
    def signature(self) -> str:
        """The signature of a call's body."""
        return "".join(kind for _, kind in self.takes)

    @property
    def result(self) -> str:
        """The signature of a reply's body."""
        return "".join(kind for _, kind in self.gives)


@dataclass(frozen=True)
class Signal:
    """A signal and its arguments."""

    name: str
    args: Arguments

    @property
    def signature(self) -> str:
        """The signature of the signal's body."""
        return "".join(kind for _, kind in self.args)


@dataclass(frozen=True)
class Property:
    """A property; all are read-only."""

    name: str
    kind: str


_OPTIONS, _FILTER = ("options", "a{sv}"), ("filter", "a{sv}")
_DOMAIN, _DESTINATION = ("domain", "s"), ("destination", "s")
_ROWS = ("rows", "aa{sv}")


def _action(word: str) -> str:
    return f"{BUS_NAME}.{word}"


METHODS: tuple[Method, ...] = (
    Method("Grant", (_DOMAIN, _DESTINATION, _OPTIONS), (("id", "s"),), _action("grant")),
    Method("Revoke", (_DOMAIN, _DESTINATION, _OPTIONS), (), _action("revoke")),
    Method("Guard", (_DESTINATION, _OPTIONS), (("id", "s"),), _action("guard")),
    Method("Unguard", (_DESTINATION, _OPTIONS), (), _action("unguard")),
    Method("Fence", (_DOMAIN, _OPTIONS), (("id", "s"),), _action("fence")),
    Method("Unfence", (_DOMAIN, _OPTIONS), (), _action("unfence")),
    Method("List", (_FILTER,), (_ROWS,), _action("list")),
    Method(
        "Explain",
        (_DOMAIN, _DESTINATION, _OPTIONS),
        (("explanation", "a{sv}"),),
        _action("explain"),
    ),
    Method("Who", (_DESTINATION, _OPTIONS), (_ROWS,), _action("who")),
    Method("GetRules", (_FILTER,), (("rules", "a{sv}"),), _action("get-rules")),
    Method("GetBaseline", (_FILTER,), (("baseline", "a{sv}"),), _action("get-baseline")),
    Method("ListTypes", (_DOMAIN, _FILTER), (_ROWS,), _action("list-types")),
    Method("ListObserved", (_FILTER,), (_ROWS,), _action("list-observed")),
    Method("ListDomains", (_FILTER,), (_ROWS,), _action("list-domains")),
    Method("ListDenied", (_FILTER,), (_ROWS,), _action("list-denied")),
    Method("ForgetDenied", (_OPTIONS,), (("count", "x"),), _action("forget-denied")),
    Method("ListPending", (_FILTER,), (_ROWS,), _action("list-pending")),
    Method(
        "Answer",
        (("id", "s"), ("answer", "s"), _OPTIONS),
        (("answered", "a{sv}"),),
        _action("answer"),
        wider=_action("answer-wider"),
    ),
    Method("ListBlocked", (_FILTER,), (_ROWS,), _action("list-blocked")),
    Method("Unblock", (_DOMAIN, _DESTINATION, _OPTIONS), (), _action("unblock")),
    Method("RegisterAgent", (_OPTIONS,), (), _action("register-agent")),
    Method("UnregisterAgent", (_OPTIONS,), (), _action("unregister-agent")),
    Method("AcceptObserved", (_OPTIONS,), (("ids", "as"),), _action("accept-observed")),
    Method("ForgetObserved", (_OPTIONS,), (("count", "x"),), _action("forget-observed")),
    Method("Preview", (("change", "s"), _OPTIONS), (("preview", "a{sv}"),), _action("preview")),
    Method(
        "Plan",
        (("method", "s"), ("arguments", "as"), _OPTIONS),
        (("plan", "a{sv}"),),
        _action("plan"),
    ),
    Method("Apply", (("document", "s"), _OPTIONS), (("applied", "a{sv}"),), _action("apply")),
    Method("Export", (_OPTIONS,), (("document", "s"),), _action("export")),
    Method("SetBaseline", (("enabled", "b"), _OPTIONS), (), _action("set-baseline")),
    Method("SetBridge", (("mode", "s"), _OPTIONS), (), _action("set-bridge")),
    Method("Confirm", (_OPTIONS,), (("confirmed", "x"),), _action("confirm")),
    Method("Up", (_OPTIONS,), (), _action("up")),
    Method("Down", (_OPTIONS,), (), _action("down")),
)

SIGNALS: tuple[Signal, ...] = (
    Signal("Added", (("id", "s"), ("entry", "a{sv}"))),
    Signal("Removed", (("id", "s"), ("entry", "a{sv}"))),
    Signal("ManyChanged", (("added", "x"), ("removed", "x"))),
    Signal("Observed", (_ROWS,)),
    Signal("Denied", (_ROWS,)),
    Signal("Reverted", (("what", "s"),)),
    Signal("Repaired", (("what", "a{sv}"),)),
)

AGENT_SIGNALS: tuple[Signal, ...] = (
    Signal("Asked", (("id", "s"), ("request", "a{sv}"))),
    Signal("Withdrawn", (("id", "s"), ("why", "s"))),
)

PROPERTIES: tuple[Property, ...] = (
    Property("Active", "b"),
    Property("Baseline", "b"),
    Property("Bridge", "s"),
    Property("Deadline", "d"),
    Property("Enforcing", "b"),
    Property("Problem", "s"),
    Property("Strict", "b"),
    Property("Version", "s"),
    Property("Warnings", "as"),
)


def actions() -> frozenset[str]:
    """Return every polkit action that some member needs."""
    wider = {method.wider for method in METHODS if method.wider}
    return frozenset({method.action for method in METHODS} | wider | {PROPERTY_ACTION})


def _quoted(text: str) -> str:
    """Return ``text`` as an XML attribute's value; saxutils would import half of urllib for it."""
    return f'"{escape(text)}"'


def introspection() -> str:
    """Return the introspection XML of the object."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield (
        '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
        ' "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">'
    )
    yield f"<node name={_quoted(PATH)}>"
    yield f" <interface name={_quoted(INTERFACE)}>"
    for method in METHODS:
        yield f"  <method name={_quoted(method.name)}>"
        for where, arguments in (("in", method.takes), ("out", method.gives)):
            for name, kind in arguments:
                yield (
                    f"   <arg name={_quoted(name)} type={_quoted(kind)} "
                    f"direction={_quoted(where)}/>"
                )
        yield "  </method>"
    yield from _signal_lines(SIGNALS)
    for prop in PROPERTIES:
        yield f'  <property name={_quoted(prop.name)} type={_quoted(prop.kind)} access="read"/>'
    yield " </interface>"
    yield f" <interface name={_quoted(AGENT_INTERFACE)}>"
    yield from _signal_lines(AGENT_SIGNALS)
    yield " </interface>"
    yield from _STANDARD.splitlines()
    yield "</node>"


def _signal_lines(signals: tuple[Signal, ...]) -> Iterator[str]:
    for signal in signals:
        yield f"  <signal name={_quoted(signal.name)}>"
        for name, kind in signal.args:
            yield f"   <arg name={_quoted(name)} type={_quoted(kind)}/>"
        yield "  </signal>"


_STANDARD = """\
 <interface name="org.freedesktop.DBus.Properties">
  <method name="Get">
   <arg name="interface" type="s" direction="in"/>
   <arg name="property" type="s" direction="in"/>
   <arg name="value" type="v" direction="out"/>
  </method>
  <method name="GetAll">
   <arg name="interface" type="s" direction="in"/>
   <arg name="properties" type="a{sv}" direction="out"/>
  </method>
  <signal name="PropertiesChanged">
   <arg name="interface" type="s"/>
   <arg name="changed" type="a{sv}"/>
   <arg name="invalidated" type="as"/>
  </signal>
 </interface>
 <interface name="org.freedesktop.DBus.Introspectable">
  <method name="Introspect">
   <arg name="xml" type="s" direction="out"/>
  </method>
 </interface>
 <interface name="org.freedesktop.DBus.Peer">
  <method name="Ping"/>
 </interface>"""
