"""Products from a list: as if they stood in the plant file, each fault with its line in the list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from emsd.errors import PlantError
from emsd.plant.loader import LoadedPlant, load_plant
from emsd.plant.production import Product

ROOT = Path(__file__).parents[2]


def load(tmp_path: Path, text: str, *, products: Any = (), name: str = "products.csv") -> LoadedPlant:
    document = YAML(typ="safe").load(ROOT / "config" / "plant.example.yaml")
    document["meters_csv"] = [str(ROOT / "config" / "meters.example.csv")]
    document["production"] = {"products": list(products), "products_csv": [name]}
    (tmp_path / "products.csv").write_text(text)
    with (tmp_path / "plant.yaml").open("w") as file:
        YAML().dump(document, file)
    return load_plant(tmp_path / "plant.yaml", environ={})


def test_a_row_is_a_product_whose_stages_stand_in_the_order_of_the_columns(tmp_path: Path) -> None:
    own = {"key": "own", "name": "Own", "area_m2": 1.0, "passes": {"array": 1}}
    found = load(
        tmp_path,
        "Key;name;area_m2;passes.evaporation;passes.array\npanel;Panel 6,7;0,0106;1;12\ntablet;Tablet;0.04;;9\n\n",
        products=[own],
    )
    assert found.plant.production is not None
    assert found.plant.production.products == (
        Product.model_validate(own),
        Product(key="panel", name="Panel 6,7", area_m2=0.0106, passes={"evaporation": 1, "array": 12}),
        Product(key="tablet", name="Tablet", area_m2=0.04, passes={"array": 9}),
    )
    assert list(found.plant.production.products[1].passes) == ["evaporation", "array"]


def test_every_fault_has_its_line_in_the_list(tmp_path: Path) -> None:
    text = "key,name,area_m2,passes.array\npanel,Panel,0,12\npanel,Panel,1,-1\nno,No,1,\nlong,Long,1,1,1\n"
    with pytest.raises(PlantError) as caught:
        load(tmp_path, text)
    told = [str(fault).removeprefix(str(tmp_path)) for fault in caught.value.faults]
    for line, words in (
        (2, "area_m2"),
        (3, "passes.array"),
        (4, "passes"),
        (5, "the row has 5 cells under 4 columns"),
    ):
        assert any(each.startswith(f"/products.csv:{line}:") and words in each for each in told), (line, told)
    with pytest.raises(PlantError, match=r'passes.arry is no column of this list; did you mean "passes.array"'):
        load(tmp_path, "key,name,area_m2,passes.arry\n")
    with pytest.raises(PlantError, match=r'production.products_csv\[0\] "gone.csv" is not a file in'):
        load(tmp_path, "", name="gone.csv")


def test_a_key_that_is_taken_in_the_plant_file_is_named(tmp_path: Path) -> None:
    own = {"key": "panel", "name": "Own", "area_m2": 1.0, "passes": {"array": 1}}
    with pytest.raises(PlantError, match=r"products.csv:2: key panel is taken by .*plant.yaml:\d+"):
        load(tmp_path, "key,name,area_m2,passes.array\npanel,Panel,1,12\n", products=[own])
