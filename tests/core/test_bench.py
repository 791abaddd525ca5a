"""The pure parts of the benchmarks: figures from samples, and the plot."""

import json
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from tests.bench import bare, changes, latency, layouts, live, native, packets, plot
from tests.bench.counted import counting
from tests.bench.samples import merged, milliseconds, percentile

SVG = "{http://www.w3.org/2000/svg}"


def test_a_percentile_is_a_value_that_was_measured() -> None:
    hundred = [float(n) for n in range(100, 0, -1)]
    assert percentile(hundred, 99) == 99
    assert percentile(hundred, 50) == 50
    assert percentile(hundred, 100) == 100
    assert percentile([3.0], 99) == 3


@pytest.mark.parametrize(("count", "has"), [(99, False), (100, True)])
def test_the_99th_in_a_hundred_is_told_of_a_hundred_at_least(
    count: int,
    has: bool,  # noqa: FBT001
) -> None:
    found = milliseconds([n / 1000 for n in range(count)])
    assert ("p99" in found) is has
    assert found["max"] == pytest.approx(count - 1)
    assert found["rounds"] == count


def test_what_was_measured_before_stays_beside_what_is_measured_now() -> None:
    before = {"latency_ms": {"grant": {"0": {"p50": 9, "max": 9}}}, "packet": {"none": {}}}
    found = {"latency_ms": {"grant": {"0": {"p50": 1}, "1000": {"p50": 2}}}}
    assert merged(before, found) == {
        "latency_ms": {"grant": {"0": {"p50": 1, "max": 9}, "1000": {"p50": 2}}},
        "packet": {"none": {}},
    }


def sample(factor: float, applied: float) -> latency.Sample:
    seconds = {kind: [factor * n / 1000 for n in range(100)] for kind in ("guard", "grant")}
    in_force = {kind: [each / 2 for each in times] for kind, times in seconds.items()}
    return latency.Sample(
        seconds, in_force, {"1": 5.0}, {"nft": 10.0}, {"list": 9.0}, applied, 4.0, 3.0, 50.0, 60.0
    )


def test_figures_of_latency_have_the_keys_that_are_promised() -> None:
    found = latency.figures({0: sample(1, 2.0), 100_000: sample(3, 9.0)})
    assert found["latency_ms"]["grant"]["100000"]["p99"] == pytest.approx(3 * 98)
    assert found["in_force_ms"]["grant"]["100000"]["p99"] == pytest.approx(3 * 98 / 2)
    assert found["restore_s"] == {"0": 4.0, "100000": 4.0}
    assert found["apply_s"] == {"0": 2.0, "100000": 9.0}
    assert found["per_second"] == {"1": 5.0}


def test_natively_each_change_has_two_times(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = sample(1, 2.0), sample(2, 2.0)
    samples = {0: (one.seconds, one.in_force), 10_000: (other.seconds, other.in_force)}
    found = native.figures(samples)
    assert found["reply_ms"]["grant"]["10000"]["p99"] == pytest.approx(2 * 98)
    assert found["in_force_ms"]["grant"]["10000"]["p99"] == pytest.approx(98)
    found["reply_ms"]["read"] = {held: {"p50": 10.0, "max": 20.0} for held in ("0", "10000")}
    native.report(found)
    assert "with 10000 held a grant is in force after 5.0 times" in capsys.readouterr().out


def test_the_last_packet_is_told_from_the_call_and_beside_the_reply() -> None:
    found = live.figures([(10.0, 10.3, 10.1, 500), (20.0, 20.3, 20.2, 400)])
    assert found["revoke_to_last_packet_ms"] == pytest.approx(150)
    assert found["revoke_live"]["last_after_reply_ms"] == pytest.approx(-100)
    assert found["revoke_live"]["least_passed"] == 400


def test_of_what_is_measured_in_rounds_the_best_counts() -> None:
    kinds = {f"{prefix}{kind}": [1.0, 1.0] for prefix in ("", "lo_") for kind in ("gbit_s", "us")}
    found = packets.figures({"none": {**kinds, "us": [1, 9]}, "maps_0": {**kinds, "us": [3, 11]}})
    assert found["maps_0"]["added_us"] == 2
    assert found["maps_0"]["gbit_s"] == 1


def test_natively_the_quickest_turns_count_and_the_tables_have_no_secmark_objects(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kinds = {"us": [10.0, *[12.0] * 7], "conn_us": [60.0] * 4 + [50.0] * 4}
    found = bare.figures({"conntrack": kinds, "maps_0": {**kinds, "us": [12.1] * 4}})
    assert found["conntrack"] == {"us": 11, "conn_us": 50}
    bare.report(found)
    assert "12.1 (1.100)" in capsys.readouterr().out
    commands = [*counting(bare.made(bare.compiled(3), bare.HOUR))]
    added = [command["add"] for command in commands if "add" in command]
    assert sum(len(what["element"]["elem"]) for what in added if "element" in what) > 3
    assert '"secmark":' not in json.dumps(commands)
    assert '{"counter": "unlabeled_t"}' in json.dumps(commands)
    assert "owner" not in json.dumps(commands)


def test_a_layout_that_took_too_long_has_no_figures(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"add_s": 0.001, "delete_s": 0.002, "fill_s": 1.0, "lookup_us": 50.0}
    rows = {"1000": row, "10000": None}
    found = layouts.figures({"none": {"lookup_us": 45.0}, **dict.fromkeys(layouts.TITLES, rows)})
    assert found["tree"]["1000"]["lookup_us"] == 5
    layouts.report(found)
    assert capsys.readouterr().out.count("too long") == len(layouts.TITLES)


def test_of_every_other_firewall_there_is_a_title() -> None:
    assert plot.OTHERS.keys() <= {f"{kind}_ms" for kind in changes.TITLES}


def values() -> dict[str, object]:
    rows = {"0": {"p50": 10.0, "p99": 15.0}, "1000": {"p50": 20.0, "p99": 30.0}}
    kinds = {kind: rows for kind, _ in plot.LINES.values()}
    return {"latency_ms": kinds, **{name: {"p50": 100.0} for name in plot.OTHERS}}


def test_the_plot_has_a_line_for_each_kind_and_a_level_for_each_other_way() -> None:
    assert plot.has_all(values())
    root = ET.fromstring(plot.latency_plot(values()))  # noqa: S314 - our own text
    assert len(root.findall(f"{SVG}polyline")) == len(plot.LINES)
    texts = [text.text or "" for text in root.findall(f"{SVG}text")]
    assert {*plot.LINES, "grants held", "1,000"} <= {*texts}
    assert any(text.startswith(plot.OTHERS["recipe_ms"]) for text in texts)


def test_twice_the_milliseconds_are_the_same_distance_higher() -> None:
    area = plot.Area([0, 1], 0, 3)
    assert area.y(2) - area.y(4) == pytest.approx(area.y(100) - area.y(200))
    assert area.y(1) == plot.HEIGHT - plot.BOTTOM
    assert area.y(1000) == plot.TOP


def test_names_do_not_lie_on_each_other() -> None:
    root = ET.fromstring(plot.latency_plot(values()))  # noqa: S314 - our own text
    right = [
        t for t in root.findall(f"{SVG}text") if float(t.get("x", "0")) > plot.WIDTH - plot.RIGHT
    ]
    heights = sorted(float(text.get("y", "0")) for text in right)
    assert all(b - a >= 15 for a, b in pairwise(heights))
