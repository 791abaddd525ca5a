"""A policy's sources without what its compiler throws away; the image holds the policy equal."""

from .lab.optionals import without_dead_optionals, without_repeats

BASE = """\
(type here_t)
(roletype system_r here_t)
(filecon "/a(/.*)?" any (system_u object_r here_t ((s0) (s0))))
(optional base_1
    (typeattributeset cil_gen_require here_t)
    (allow here_t self (file (read)))
    (optional base_2
        (typeattributeset cil_gen_require gone_t)
        (allow here_t gone_t (file (read)))
    )
    (allow here_t self (file (write)))
)
(optional base_3
    (roleattributeset cil_gen_require gone_r)
    (optional base_4
        (typeattributeset cil_gen_require here_t)
        (type within_t)
    )
)
(optional base_5 (typeattributeset cil_gen_require gone_t))
"""
OTHER = """\
(optional other_1
    (typeattributeset cil_gen_require within_t)
    (allow within_t self (file (read)))
)
(optional other_2
    (typeattributeset cil_gen_require here_t)
    (allow here_t self (dir (read)))
)
"""


def test_blocks_go_that_need_what_nobody_declares_and_all_within_them() -> None:
    left = without_dead_optionals({"base": BASE, "other": OTHER})
    lines = BASE.splitlines(keepends=True)
    assert left["base"] == "".join([*lines[:6], *lines[10:12]])
    assert left["other"] == "".join(OTHER.splitlines(keepends=True)[4:])


def test_what_somebody_declares_stays_wherever_it_stands() -> None:
    declared = "(type gone_t)\n(role gone_r)\n"
    left = without_dead_optionals({"base": BASE, "other": OTHER, "third": declared})
    assert left == {"base": BASE, "other": OTHER, "third": declared}


def test_repeats_go_outside_of_blocks_alone() -> None:
    rule, block = "(allow a b (file (read)))\n", "(optional x\n    (allow a b (file (read)))\n)\n"
    other = "(filecon x)\n"
    assert without_repeats(rule + other + block + rule + other + block) == (
        rule + other + block + other + block
    )
