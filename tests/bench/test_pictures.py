from __future__ import annotations

from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from bench.pictures import PicturedPlant, draw_day
from bench.stacked_areas import Band, Picture, as_svg
from emsd.plant.loader import load_plant
from emsd.readings import instant_us

SVG = "{http://www.w3.org/2000/svg}"
FACTORY = Path(__file__).resolve().parents[2] / "config" / "factory.yaml"


def test_areas_stand_on_each_other_and_the_right_axis_is_its_own() -> None:
    at = np.array([0.0, 1.0, 2.0])
    areas = [
        Band("low & slow", "#111", np.array([10.0, 20.0, 10.0])),
        Band("high", "#222", np.array([30.0, 20.0, 10.0])),
    ]
    line, right = Band("line", "#333", np.array([0.0, 40.0, 0.0])), Band("right", "#444", np.array([-10.0, 0.0, 30.0]))
    svg = as_svg(Picture("t", at, [(1.0, "x")], areas, [line], right, "MW", "C", (-10.0, 30.0)))
    root = ET.fromstring(svg)  # noqa: S314  # our own text
    low, high = (
        [*zip(*[p.split(",") for p in each.attrib["points"].split()], strict=True)][1]
        for each in root.iter(f"{SVG}polygon")
    )
    curve, other = ([p.split(",")[1] for p in each.attrib["points"].split()] for each in root.iter(f"{SVG}polyline"))
    # 334 px from 44 to 378 are 0..40 MW and -10..30 C.
    assert [float(y) for y in low] == pytest.approx([294.5, 211.0, 294.5, 378, 378, 378])
    assert [float(y) for y in high] == pytest.approx([44.0, 44.0, 211.0, 294.5, 211.0, 294.5])
    assert [float(y) for y in curve] == pytest.approx([378, 44, 378])
    assert [float(y) for y in other] == pytest.approx([378, 294.5, 44])
    assert {"low & slow", "high", "line", "right", "x", "40", "-10", "30"} <= {
        each.text for each in root.iter(f"{SVG}text")
    }


def test_a_day_stacks_all_that_the_factory_takes() -> None:
    loaded = load_plant(FACTORY, environ={})
    day = datetime(2026, 7, 15, tzinfo=loaded.plant.site.zone)
    plant = PicturedPlant(loaded, 1, day)
    edges = instant_us(day) + np.array([0, 86_400_000_000])
    bands, solar, air = plant.powers_mw(edges)
    drawn = [plant.physics.true_energy_kwh(key, *edges.tolist()).import_kwh for key in ("incomer-1", "incomer-2")]
    made = plant.physics.true_energy_kwh("pv-bus", *edges.tolist()).export_kwh
    assert solar[0] == pytest.approx(made / 24_000)
    assert sum(band.values[0] for band in bands) == pytest.approx((sum(drawn) + made) / 24_000)
    assert 15 < air[0] < 28
    root = ET.fromstring(draw_day(plant, day))  # noqa: S314  # our own text
    words = {each.text for each in root.iter(f"{SVG}text")}
    assert {"Process tools", "Chilled water", "Without a meter", "Photovoltaics", "Wet bulb (right)"} <= words
