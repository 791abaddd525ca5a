"""Documents: what they say, where they are wrong, and that what is exported comes back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.errors import InvalidDocument
from appfwd.model import document as module
from appfwd.model import domain as domain_module
from appfwd.model.changes import add_fence, add_grant, add_guard, set_bridge
from appfwd.model.document import parse_document
from appfwd.model.ends import After, At, End, Moment, Session, WithBoot, WithSession
from appfwd.model.fence import Fence, Kept
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import Bridge, DesiredState, Ending, Grant, Guard, Settings
from appfwd.model.whole import become, document_text, settled
from tests.core.samples import DOMAINS, GONE, make_policy, states
from tests.core.stories import place, state_of

NOW, WALL = Moment("boot-1", 100.0), 1_900_000_000.25
POLICY = replace(make_policy(), aliases={"old_a_t": "a_t"})
SESSION = Session("c2", 1_764_000_000_123_457)
ENDS = (None, After(60.0), At(2_000_000_000.123456), WithBoot(), WithSession(SESSION))
FULL = """\
[settings]
bridge = "closed"
strict = true
baseline = true

[[guard]]
destination = "10.0.0.5:3128"

[[fence]]
domain = ["a_t", "b_t"]
dns = false

[[grant]]
domain = ["a_t", "b_t"]
destination = ["any:443", "[2001:db8::]:80/tcp"]

[[grant]]
domain = "c_t"
direction = "in"
destination = "any:22/tcp"
until = 2030-01-01T00:00:00+01:00

[[grant]]
domain = "c_t"
destination = "any:22/tcp"
boot = true
"""


def applied(
    text: str,
    state: DesiredState | None = None,
    policy: LoadedPolicy = POLICY,
    wall: float = 0.0,
) -> DesiredState:
    """Return what a document makes of a state at a Unix time."""
    state = state or DesiredState()
    document = settled(parse_document(text), policy, state)
    now = replace(NOW, sessions=frozenset({SESSION}))
    return become(document, document.fences, lambda end: end.left(now, wall) <= 0)(state)


def refused(text: str, state: DesiredState | None = None) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        applied(text, state)
    return str(caught.value).splitlines()


def test_a_full_document_says_all_that_there_is() -> None:
    state = applied(FULL)
    assert state.settings == Settings(Bridge.CLOSED, strict=True, baseline=True)
    assert state.guards == {Guard(place("10.0.0.5:3128"))}
    assert state.fences == {Fence("a_t", dns=False), Fence("b_t", dns=False)}
    web = {Grant(d, place(p)) for d in ("a_t", "b_t") for p in ("any:443", "[2001:db8::]:80/tcp")}
    inbound, outbound = Grant("c_t", place("in any:22/tcp")), Grant("c_t", place("any:22/tcp"))
    assert state.grants == {*web, inbound, outbound}
    assert state.endings == {
        Ending(inbound, At(1893452400.0)),
        Ending(outbound, WithBoot()),
    }


def with_ends(state: DesiredState, ends: list[End | None]) -> DesiredState:
    for grant, end in zip(sorted(state.grants, key=repr), ends, strict=False):
        without = replace(state, grants=state.grants - {grant})
        state = add_grant(grant, end)(without).begun(NOW, WALL)
    return state


some_ends = st.lists(st.sampled_from(ENDS), max_size=5)


@given(states(), some_ends, states())
def test_what_is_exported_makes_the_same_of_any_state(
    state: DesiredState, ends: list[End | None], other: DesiredState
) -> None:
    """But for how a length of time is measured, what a fence keeps, and whether all is down."""
    state = with_ends(state, ends)
    dormant = replace(POLICY, domains=frozenset({*DOMAINS, GONE}))
    made = applied(document_text(state), other, dormant, WALL)
    assert (made.guards, made.grants) == (state.guards, state.grants)
    assert made.settings == replace(state.settings, active=other.settings.active)
    assert {bare(fence) for fence in made.fences} == {bare(fence) for fence in state.fences}
    assert {e.grant: left(e.end) for e in made.endings} == pytest.approx(
        {e.grant: left(e.end) for e in state.endings}, abs=0.001
    )
    kept = {fence.domain: fence.kept for fence in other.fences}
    assert all(fence.kept == kept.get(fence.domain, Kept()) for fence in made.fences)


def bare(fence: Fence) -> Fence:
    return replace(fence, kept=Kept())


def left(end: End) -> float:
    return end.left(replace(NOW, sessions=frozenset({SESSION})), WALL)


@given(states(), some_ends)
def test_what_is_exported_changes_nothing_where_it_was(
    state: DesiredState, ends: list[End | None]
) -> None:
    state = with_ends(state, ends)
    assert applied(document_text(state), state, wall=WALL) == state


def test_the_same_state_is_the_same_text_whatever_its_order() -> None:
    parts = [("a_t", "10.0.0.5"), ("b_t", "any:1"), ("a_t", "any:2")]
    assert document_text(state_of("10.0.0.1", grants=tuple(parts))) == document_text(
        state_of("10.0.0.1", grants=tuple(reversed(parts)))
    )


WRONG = {
    "no TOML": ("a = \n", "line 1, column 5: This is not TOML: 'Invalid value'."),
    "unfinished": ('a = "x', "line 1, column 7: This is not TOML: "),
    "an unknown table": ("\n[rules]\n", "line 2, column 1: There is no 'rules' here; those"),
    "an unknown key": (
        '[[guard]]\nport = 3\ndestination="any"',
        "line 2, column 1: There is no 'p",
    ),
    "an unknown setting": ("[settings]\nx = 1", "line 2, column 1: There is no 'x' here"),
    "no table of settings": ("settings = 3", "line 1, column 12: 'settings' is a table"),
    "no such bridge": ('[settings]\nbridge = "shut"', "line 2, column 10: 'bridge' is 'open', "),
    "no truth": ('[settings]\nbaseline = "on"', "line 2, column 12: 'baseline' is true or false"),
    "strict alone": ("[settings]\nstrict = true", "line 2, column 10: 'strict' goes with "),
    "one bracket": ('[guard]\ndestination = "any"', "line 1, column 1: Write [[guard]]"),
    "no list of tables": ("grant = 3", "line 1, column 9: Write [[grant]]"),
    "no destination": ('[[guard]]\ndirection = "in"', "line 1, column 1: A guard has a 'destin"),
    "a destination of another type": (
        "[[guard]]\ndestination = 3",
        "line 2, column 15: 'destination' is a string, or a list of strings.",
    ),
    "a wrong destination": (
        '[[guard]]\ndestination = [\n  "any:1", "10.0.0.300:1",\n]',
        "line 3, column 12: Destination '10.0.0.300:1' is wrong at character 1",
    ),
    "a wrong direction": (
        '[[guard]]\ndestination = "any:1"\ndirection = ["in"]',
        "line 3, column 13: 'direction' is 'out' or 'in'.",
    ),
    "a wrong name": (
        '[[grant]]\ndomain = "a b"\ndestination = "any:1"',
        "line 2, column 10: 'a b' cannot be the name of a domain",
    ),
    "an unknown domain": (
        '[[grant]]\ndestination = "any:1"\ndomain = ["a_t", "aa_t"]',
        "line 3, column 18: The loaded policy has no domain 'aa_t'. Near names: a_t.",
    ),
    "an unknown domain to fence": ('[[fence]]\ndomain = "x_t"', "line 2, column 10: The loaded"),
    "a time without zone": (
        '[[grant]]\ndomain = "a_t"\ndestination = "any:1"\nuntil = 2030-01-01T00:00:00',
        "line 4, column 9: 'until' is a date and time with its zone",
    ),
    "a day": (
        '[[grant]]\ndomain = "a_t"\ndestination = "any:1"\nuntil = 2030-01-01',
        "line 4, column 9: 'until' is a date and time with its zone",
    ),
    "two ends": (
        '[[grant]]\ndomain = "a_t"\ndestination = "any:1"\nuntil = 2030-01-01T00:00:00Z\nboot=true',
        "line 5, column 6: 'until' and 'boot' exclude each other.",
    ),
    "a session without its time": (
        '[[grant]]\ndomain = "a_t"\ndestination = "any:1"\nsession = "3"',
        "line 4, column 11: 'session' is the id of a login session, as a string, and goes with",
    ),
    "a session as a number": (
        '[[grant]]\ndomain="a_t"\ndestination="any:1"\nsession = 3\nopened = 2030-01-01T00:00:00Z',
        "line 4, column 11: 'session' is the id of a login session, as a string, and goes with",
    ),
    "an empty session": (
        '[[grant]]\ndomain="a_t"\ndestination="any:1"\nsession = ""\nopened = 2030-01-01T00:00:00Z',
        "line 4, column 11: 'session' is the id of a login session, as a string, and goes with",
    ),
    "after the last year": (
        '[[grant]]\ndomain="a_t"\ndestination="any:1"\nuntil = 9999-12-31T23:59:59-12:00',
        "line 4, column 9: 'until' is from 1970 to 9999, in UTC.",
    ),
    "granted twice by an alias": (
        (
            '[[grant]]\ndomain=["a_t", "old_a_t"]\ndestination="any:1"\n'
            '[[grant]]\ndomain="old_a_t"\ndestination="any:2"\nboot = true\n'
            '[[grant]]\ndomain="a_t"\ndestination="any:2"'
        ),
        "line 9, column 8: This is granted to a_t twice, with different ends.",
    ),
    "a product": (
        (
            f"[[grant]]\ndomain={[f'd{n}_t' for n in range(500)]}\n"
            f"destination={[f'any:{n}' for n in range(1, 500)]}"
        ),
        "line 1, column 1: A document comes to at most 200000 grants.",
    ),
    "granted with two ends": (
        '[[grant]]\ndomain = "a_t"\ndestination = "any:1"\n' * 2 + "boot = true",
        "line 6, column 15: This is granted twice, with different ends.",
    ),
    "a length of time": (
        '[[grant]]\ndomain = "a_t"\ndestination = "any:1"\nfor = 60',
        "line 4, column 1: A length of time would begin anew each time: write 'until'.",
    ),
    "fenced in two ways": (
        '[[fence]]\ndomain = "a_t"\n[[fence]]\ndomain = "old_a_t"\ndns = false',
        "line 4, column 10: a_t is fenced twice, with different exceptions.",
    ),
    "no truth of a fence": (
        '[[fence]]\ndomain = "a_t"\ndns = 0',
        "line 3, column 7: 'dns' is true",
    ),
    "very deep": ("a = " + "[" * 100_000, "line 1, column 1: This is no document of appfwd's"),
    "a very long number": ("a = " + "1" * 10_000, "line 1, column 1: This is no document"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_with_its_place(name: str) -> None:
    text, expected = WRONG[name]
    (line,) = refused(text)
    assert line.startswith(expected)


def test_several_are_told_at_once_in_order_and_no_more_than_ten() -> None:
    text = "[[guard]]\ndestination = [\n" + '"x",\n' * 12 + "]"
    lines = refused(text)
    assert [line.split(":")[0] for line in lines[:10]] == [
        f"line {number}, column 1" for number in range(3, 13)
    ]
    assert lines[10:] == ["line 13, column 1: and 2 more."]


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 30_000) + "=1",
        "[" + ".".join("a" * 30_000) + "]",
        " . ".join(['"a"'] * 30_000) + "=1",
        "x = " + "[" * 493 + "]" * 493,
        "x = " + "[" * 20_000,
        "x = " + "{a=" * 328 + "1" + "}" * 328,
        "x = " + "[{a=" * 197 + "1" + "}]" * 197,
    ],
    ids=lambda text: text[:9],
)
def test_what_is_too_deep_is_refused_before_it_costs_much(text: str) -> None:
    (line,) = refused(text + "\n")
    assert line.startswith("line 1, column ")


def test_long_lists_are_not_taken_for_depth() -> None:
    places = ", ".join(f'"10.0.{n}.1:443"' for n in range(200))
    assert len(applied(f"# see a.b.c.\n[[guard]]\ndestination = [{places}]").guards) == 200


def test_a_product_is_bounded_however_often_the_same_is_named() -> None:
    text = "[[grant]]\ndomain = [{}]\ndestination = [{}]"
    many = text.format('"a_t",' * 60_000, '"any:1",' * 60_000)
    assert applied(many).grants == {Grant("a_t", place("any:1"))}


def test_near_names_are_looked_for_a_few_times_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def near(name: str, _policy: LoadedPolicy) -> str:
        asked.append(name)
        return ""

    monkeypatch.setattr(domain_module, "_near", near)
    names = ", ".join(f'"a{n}_t"' for n in range(5000))
    assert len(refused(f"[[fence]]\ndomain = [{names}]")) == 11
    assert len(asked) < 30


def test_a_domain_that_policy_lost_is_not_fenced_for_its_grants() -> None:
    state = state_of(grants=((GONE, "any:1"),))
    text = f'[[fence]]\ndomain = "{GONE}"\n' + document_text(state)
    assert "has no domain 'gone_t'" in refused(text, state)[0]


def test_a_document_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DOCUMENT_AT_MOST", 10)
    assert refused("# 9 chars.\n")[0].startswith("line 1, column 1: A document has at most 10 ")


def test_an_alias_is_the_domain_that_it_stands_for() -> None:
    text = '[[grant]]\ndomain = "old_a_t"\ndestination = "any:1"\nboot = true'
    state = applied(text)
    assert state.grants == {Grant("a_t", place("any:1"))}
    assert state.endings == {Ending(Grant("a_t", place("any:1")), WithBoot())}


def test_a_domain_that_policy_lost_may_stay_but_not_come() -> None:
    state = state_of(grants=((GONE, "any:1"),))
    assert applied(document_text(state), state, wall=WALL) == state
    assert "has no domain 'gone_t'" in refused(document_text(state))[0]


def test_settings_that_are_not_named_stay() -> None:
    had = replace(DesiredState(), settings=Settings(Bridge.CLOSED, strict=True, baseline=True))
    assert applied("", had) == had
    assert applied("[settings]\nbaseline = false", had).settings == replace(
        had.settings, baseline=False
    )
    assert applied('[settings]\nbridge = "closed"', had) == had
    assert not applied("[settings]\nstrict = false", had).settings.strict
    assert not applied('[settings]\nbridge = "open"', had).settings.strict


def test_what_it_speaks_of_is_no_longer_on_trial() -> None:
    """Nothing takes back what a document says; a setting that it leaves alone still goes back."""
    state = add_guard(Guard(place("any:1")), 60)(DesiredState())
    state = add_fence(Fence("a_t"), 60)(set_bridge(Bridge.CLOSED, trial=60)(state))
    assert len(applied("", state).trials) == 1
    assert applied(document_text(state), state).trials == frozenset()


def test_a_grant_whose_time_was_over_does_not_come() -> None:
    wall, grant = 1893452400.0, Grant("c_t", place("in any:22/tcp"))
    assert grant in applied(FULL, wall=wall - 1).grants
    made = applied(FULL, wall=wall)
    assert grant not in made.grants | {ending.grant for ending in made.endings}
    assert len(made.grants) == len(applied(FULL).grants) - 1


def test_a_grant_of_a_session_stays_and_comes_while_that_is_open_alone() -> None:
    grant = Grant("a_t", place("any:1"))
    for session, stays in ((SESSION, True), (replace(SESSION, opened=5), False)):
        state = add_grant(grant, WithSession(session))(DesiredState())
        assert applied(document_text(state), state) == (state if stays else DesiredState())
        assert applied(document_text(state)) == (state if stays else DesiredState())


def test_one_that_is_not_over_by_the_clock_that_nobody_sets_stays() -> None:
    grant = Grant("a_t", place("any:1"))
    state = add_grant(grant, After(60.0))(DesiredState()).begun(NOW, WALL)
    text = document_text(state)
    assert applied(text, state, wall=WALL + 600) == state
    assert not applied(text, wall=WALL + 600).grants


def test_an_end_that_comes_no_earlier_by_applying_is_the_same_end() -> None:
    state = add_grant(Grant("a_t", place("any:1")), After(60.0))(DesiredState()).begun(NOW, WALL)
    (ending,) = applied(document_text(state), state).endings
    assert isinstance(ending.end, After)
    later = document_text(state).replace("until = 2030", "until = 2031")
    (ending,) = applied(later, state).endings
    assert isinstance(ending.end, At)
