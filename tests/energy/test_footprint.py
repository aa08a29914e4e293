"""The footprint of products: nothing is lost, nothing counts twice, and the formula of the standard holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy.kpi.footprint import AllocationKey, Burden, Output, SharedBurden, footprint

STAGES = ("array", "evaporation", "module")


def test_the_footprint_of_a_square_metre_is_energy_times_passes_over_weighed_area_over_yield() -> None:
    # After ISO 14067, allocation by a physical relationship: CF/m2 = sum of E_s m(p,s) / (sum of A_q m(q,s)) / yield.
    small = Output("small", 0.01, {"array": 12, "module": 1}, {"array": 10_000, "module": 9_000}, 8_500)
    large = Output("large", 0.5, {"array": 8, "module": 1}, {"array": 100, "module": 100}, 90)
    stages = {"array": Burden(1_600.0, 800.0), "module": Burden(280.0, 140.0, 10.0)}
    found = footprint(stages, [], [small, large])
    array_m2 = 10_000 * 0.01 * 12 + 100 * 0.5 * 8
    module_m2 = 9_000 * 0.01 + 100 * 0.5
    first, second = found.products
    assert first.per_m2 is not None
    assert second.per_unit is not None
    yields = {"array": 8_500 / 10_000, "module": 8_500 / 9_000}
    assert first.per_m2.kwh == pytest.approx(
        1_600 * 12 / array_m2 / yields["array"] + 280 / module_m2 / yields["module"]
    )
    assert second.per_unit.kwh == pytest.approx((1_600 * 100 * 0.5 * 8 / array_m2 + 280 * 50 / module_m2) / 90)
    assert found.allocated.kwh == pytest.approx(1_880)
    assert found.allocated.total_kg_co2e == pytest.approx(950)
    assert found.unallocated == ()


def test_shared_areas_follow_their_keys_and_what_is_left_is_named() -> None:
    output = Output("panel", 1.0, {"array": 1, "module": 1}, {"array": 1, "module": 1}, None)
    stages = {"array": Burden(300.0), "module": Burden(100.0)}
    shared = [
        SharedBurden("utilities", Burden(40.0)),
        SharedBurden("chilled-water", Burden(30.0), AllocationKey.FLOOR_AREA),
        SharedBurden("air", Burden(20.0), AllocationKey.SHARES, {"array": 0.5, "module": 0.3}),
        SharedBurden("offices", Burden(5.0), AllocationKey.NONE),
    ]
    found = footprint(stages, shared, [output], {"array": 100.0, "module": 200.0})
    (product,) = found.products
    assert product.by_stage["array"].kwh == pytest.approx(300 + 30 + 10 + 10)
    assert product.by_stage["module"].kwh == pytest.approx(100 + 10 + 20 + 6)
    assert {each.what: each.burden.kwh for each in found.unallocated} == {
        "area air, rest of its shares": pytest.approx(4.0),
        "area offices": 5.0,
    }
    assert (product.per_unit, product.per_m2) == (None, None), "nobody has counted good units"


def test_a_stage_that_made_nothing_is_not_allocated() -> None:
    output = Output("panel", 1.0, {"array": 1, "module": 1}, {"array": 5, "module": 0}, 5)
    found = footprint({"array": Burden(10.0), "module": Burden(3.0)}, [], [output])
    assert found.products[0].total.kwh == 10.0
    (left,) = found.unallocated
    assert (left.what, left.burden.kwh, left.reason) == ("stage module", 3.0, "no product passed it in this period")
    nothing = footprint({}, [SharedBurden("site", Burden(7.0))], [])
    assert nothing.total.kwh == 7.0
    assert nothing.unallocated[0].reason == "no stage used energy in this period"


amount = st.floats(0, 1e6)
burden = st.builds(Burden, st.floats(-1e3, 1e6), amount, amount)
output = st.builds(
    Output,
    st.uuids().map(str),
    st.floats(0.001, 10),
    st.dictionaries(st.sampled_from(STAGES), st.floats(0.5, 20), min_size=1),
    st.dictionaries(st.sampled_from(STAGES), st.floats(0, 1e5)),
    st.one_of(st.none(), st.floats(0, 1e5)),
)
shared_burden = st.builds(
    SharedBurden,
    st.uuids().map(str),
    burden,
    st.sampled_from(AllocationKey),
    st.dictionaries(st.sampled_from(STAGES), st.floats(0.01, 0.33)),
)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(STAGES), burden),
    st.lists(shared_burden, max_size=5),
    st.lists(output, max_size=5),
    st.dictionaries(st.sampled_from(STAGES), st.floats(0, 1e4)),
)
def test_products_and_what_none_of_them_bears_are_all_there_was(
    stages: dict[str, Burden], shared: list[SharedBurden], outputs: list[Output], floor: dict[str, float]
) -> None:
    found = footprint(stages, shared, outputs, floor)
    everything = sum((each.burden for each in shared), sum(stages.values(), Burden()))
    scale = sum(abs(each.burden.kwh) for each in shared) + sum(abs(each.kwh) for each in stages.values()) + 1
    assert found.total.kwh == pytest.approx(everything.kwh, abs=1e-9 * scale)
    assert found.total.total_kg_co2e == pytest.approx(everything.total_kg_co2e, rel=1e-9, abs=1e-6)
    assert [each.product for each in found.products] == [each.product for each in outputs]
    for product, made in zip(found.products, outputs, strict=True):
        assert set(product.by_stage) <= {stage for stage in made.passes if made.processed.get(stage, 0) > 0}
