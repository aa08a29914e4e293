"""How devices refuse: each case is a statement of a vendor's document."""

from __future__ import annotations

import pytest

from emsd.errors import ConfigurationError
from emsd.plant.loader import LoadedPlant
from emsd.plant.profile import Profile
from simulator.layout import Layout, Span
from simulator.points import choose_exponents


def layout_of(example: LoadedPlant, profile: str) -> Layout:
    chosen = example.profiles[profile]
    assert chosen.modbus is not None
    return Layout.of(chosen, choose_exponents(chosen.modbus, 500.0, 400.0))


def refusal(layout: Layout, function: int, address: int, count: int) -> int | None:
    plan = layout.plan(function, address, count)
    return None if isinstance(plan, Span) else plan


def test_every_point_of_every_profile_can_be_read_alone(example: LoadedPlant) -> None:
    for profile in example.profiles.values():
        if profile.modbus is None:
            continue
        layout = layout_of(example, profile.profile)
        for point in layout.points:
            function = 3 if point.table == "holding" else 4
            plan = layout.plan(function, point.address, point.registers)
            assert isinstance(plan, Span), (profile.profile, point.quantity)
            assert plan.stop - plan.start == 2 * point.registers


@pytest.mark.parametrize(
    ("profile", "function", "address", "count", "code"),
    [
        ("schneider_pm5560", 3, 2999, 112, None),
        ("schneider_pm5560", 3, 2998, 2, 2),  # before the first
        ("schneider_pm5560", 3, 3110, 2, 2),  # runs out of the block
        ("schneider_pm5560", 4, 2999, 2, 1),  # no input registers
        ("schneider_pm5560", 3, 2999, 126, 3),
        ("schneider_pm5560", 3, 2999, 0, 3),
        ("eastron_sdm630", 4, 52, 30, None),
        ("eastron_sdm630", 4, 0, 62, 3),  # 60 registers at most
        ("eastron_sdm630", 4, 0, 3, 3),  # even counts only
        ("eastron_sdm630", 4, 1, 2, 2),  # splits a value
        ("eastron_sdm630", 3, 0, 2, 1),
        ("carlo_gavazzi_em340", 4, 0, 51, 3),
        ("ingersoll_rand_xe", 3, 2, 2, None),
        ("ingersoll_rand_xe", 3, 2, 6, 2),  # register 4 is not listed
        ("kipp_zonen_smp", 4, 4, 2, None),
        ("kipp_zonen_smp", 3, 4, 2, None),  # holding and input are the same
        ("vpinstruments_vpflowscope", 3, 17, 2, None),
        ("vpinstruments_vpflowscope", 3, 17, 1, 3),  # an item is two registers
        ("vpinstruments_vpflowscope", 3, 18, 2, 2),  # another item, not the second half of 17
        ("sunspec_inverter", 3, 40000, 125, None),
        ("sunspec_inverter", 3, 0, 2, 2),
        ("trane_rthd", 3, 1, 1, 1),  # reads are function 4
    ],
)
def test_a_device_answers_what_its_document_allows(
    example: LoadedPlant, profile: str, function: int, address: int, count: int, code: int | None
) -> None:
    assert refusal(layout_of(example, profile), function, address, count) == code


def test_a_sunspec_model_without_a_known_layout_is_refused(example: LoadedPlant) -> None:
    raw = example.profiles["sunspec_inverter"].model_dump(mode="json", exclude_none=True)
    raw["modbus"]["points"] = [
        {"quantity": "active_power_kw", "model": 701, "offset": 10, "type": "i16", "scale_register": {"offset": 116}}
    ]
    profile = Profile.model_validate(raw)
    assert profile.modbus is not None
    with pytest.raises(ConfigurationError, match="no layout of SunSpec model 701"):
        Layout.of(profile, choose_exponents(profile.modbus, 500.0, 400.0))
