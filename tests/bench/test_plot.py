"""Pictures of benchmarks: every axis begins at 0 and holds all that is drawn."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from bench.plot import Panel, as_svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*panels: Panel) -> ET.Element:
    return ET.fromstring(as_svg("a < b & c", "seconds", panels))  # noqa: S314 - it is ours


def points_of(line: ET.Element) -> list[tuple[float, float]]:
    pairs = (each.split(",") for each in line.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def test_a_line_goes_from_the_axis_to_as_high_as_its_value_says() -> None:
    picture = drawn(Panel("memory", [(0.0, 0.0), (50.0, 100.0), (100.0, 200.0)]))
    (low, middle, high) = points_of(picture.findall(f"{SVG}polyline")[0])
    assert low[0] < middle[0] < high[0]
    assert low[1] - middle[1] == pytest.approx(middle[1] - high[1], abs=0.11)
    texts = [each.text for each in picture.iter(f"{SVG}text")]
    assert {"0", "100", "200", "a < b & c", "memory", "seconds"} <= set(texts)


def test_a_flat_line_and_one_without_points_are_drawn_too() -> None:
    picture = drawn(Panel("missed", [(0.0, 0.0), (600.0, 0.0)]), Panel("nothing", []))
    flat, empty = picture.findall(f"{SVG}polyline")
    assert len({y for _, y in points_of(flat)}) == 1
    assert points_of(empty) == []
