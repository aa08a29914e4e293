"""How devices refuse: each case is a statement of a vendor's document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from emsd.errors import ConfigurationError
from emsd.plant.loader import LoadedPlant
from emsd.plant.profile import Profile
from emsd.quantities import RUN_STATE_CODES, RunState
from simulator.device_settings import choose_exponents
from simulator.identities import serial_number
from simulator.layout import Layout, Span
from simulator.sunspec_profile import with_points
from simulator.words import WordArray

PROFILES = Path(__file__).resolve().parents[2] / "collectors" / "profiles"


def layout_of(example: LoadedPlant, profile: str) -> Layout:
    chosen = with_points(example.profiles[profile])
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
        ("eastron_sdm630", 4, 1, 2, 2),  # even starts only
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


def made_up(points: list[dict[str, object]], **modbus: object) -> Layout:
    document = {"profile": "made_up", "kind": "generic", "manufacturer": "none", "model": "none", "source": ["a test"]}
    profile = Profile.model_validate({**document, "modbus": {"points": points, **modbus}})
    assert profile.modbus is not None
    return Layout.of(profile, choose_exponents(profile.modbus, 500.0, 400.0))


POWER = {"quantity": "active_power_kw", "address": 10, "type": "i32"}
FREQUENCY = {"quantity": "frequency_hz", "address": 16, "type": "u16", "scale": 0.01}


@pytest.mark.parametrize(
    ("address", "count", "code"), [(10, 2, None), (10, 4, None), (10, 5, 2), (10, 7, 2), (14, 1, 2), (15, 2, None)]
)
def test_registers_that_must_not_be_read_are_refused_even_inside_a_block(
    address: int, count: int, code: int | None
) -> None:
    layout = made_up([POWER, FREQUENCY], forbidden=[{"first": 14, "last": 14}])
    assert refusal(layout, 3, address, count) == code


@pytest.mark.parametrize(("address", "count", "code"), [(12, 4, None), (12, 3, 3), (13, 4, 2), (14, 4, 2)])
def test_reads_begin_and_end_at_multiples_of_the_alignment(address: int, count: int, code: int | None) -> None:
    layout = made_up([POWER | {"address": 12}, FREQUENCY], align_registers=4, max_gap_registers=4)
    assert refusal(layout, 3, address, count) == code


def test_a_device_that_answers_whole_values_only_refuses_the_second_half_of_one() -> None:
    """Siemens PAC3200 manual: a read that begins on the second register of a value is answered with an exception."""
    layout = Layout.of(pac3200(), {})
    assert refusal(layout, 3, 1, 2) is None
    assert refusal(layout, 3, 2, 2) == 2
    assert refusal(layout, 3, 801, 40) is None
    assert refusal(layout, 3, 806, 4) == 2  # inside the second tariff


def pac3200() -> Profile:
    return Profile.model_validate(YAML(typ="safe").load(PROFILES / "siemens_pac3200.yaml"))


def test_settings_and_identity_stand_where_the_profile_says() -> None:
    layout = made_up(
        [POWER | {"times": ["current_ratio"]}],
        parameters=[
            {"name": "current_ratio", "address": 331, "type": "u32", "scale": 0.1},
            {"name": "tenths", "address": 335, "type": "u16", "bits": [8, 8], "minimum": 1},
        ],
        identity=[
            {"what": "serial", "address": 400, "type": "u32"},
            {"what": "model", "address": 410, "type": "text", "registers": 4, "expect": "PM[0-9]+|ABC"},
        ],
        word_order="little",
    )
    image = layout.image_template(10_000_001)
    assert words_at(layout, image, 331, 2) == [2000, 0]  # 200 in tenths, low word first
    assert words_at(layout, image, 335, 1) == [1 << 8]
    assert words_at(layout, image, 400, 2) == [10_000_001 & 0xFFFF, 10_000_001 >> 16]
    assert bytes.fromhex("".join(f"{word:04x}" for word in words_at(layout, image, 410, 4))) == b"ABC\0\0\0\0\0"


def test_an_identity_behind_a_value_is_read_alone(example: LoadedPlant) -> None:
    """Carlo Gavazzi: register 11 read alone is the identification code, and else the second half of a voltage."""
    layout = layout_of(example, "carlo_gavazzi_em340")
    image = layout.image_template(10_000_001)
    values = {point.quantity: np.array([0.0]) for point in layout.points} | {"voltage_l3_l1_v": np.array([401.2])}
    image = layout.images(values, image[None, :])[0]
    assert words_at(layout, image, 11, 1, function=4) == [341]
    assert words_at(layout, image, 10, 2, function=4) == [4012, 0]


def words_at(layout: Layout, image: WordArray, address: int, count: int, *, function: int = 3) -> list[int]:
    plan = layout.plan(function, address, count)
    assert isinstance(plan, Span)
    return [int(word) for word in image[plan.start // 2 : plan.stop // 2]]


def test_flags_and_a_setting_can_share_a_register() -> None:
    layout = made_up(
        [
            {
                "quantity": "run_state",
                "address": 7,
                "type": "u16",
                "flags": {0: "running", 1: "fault"},
                "otherwise": "off",
            }
        ],
        parameters=[{"name": "tenths", "address": 7, "type": "u16", "bits": [8, 8], "minimum": 1}],
        not_available={"u16": [0xFFFF]},
    )
    running = {"run_state": np.array([RUN_STATE_CODES[RunState.RUNNING]])}
    image = layout.images(running, layout.image_template(1)[None, :])[0]
    assert words_at(layout, image, 7, 1) == [1 << 8 | 1]


def test_two_meters_of_one_model_have_serial_numbers_of_their_own_and_keep_them() -> None:
    assert serial_number(1, "a") == serial_number(1, "a")
    assert len({serial_number(seed, key) for seed in (1, 2) for key in ("a", "b")}) == 4


def test_an_identity_that_cannot_be_made_up_is_refused() -> None:
    identity = [{"what": "model", "address": 0, "type": "text", "registers": 4, "expect": "[a-f]{3}x[0-9]{2}"}]
    layout = made_up([POWER], identity=identity)
    with pytest.raises(ConfigurationError, match="no model that matches"):
        layout.image_template(1)


def test_a_sunspec_model_that_is_not_defined_is_refused() -> None:
    point = {"quantity": "active_power_kw", "model": 63999, "offset": 10, "type": "i16"}
    with pytest.raises(ConfigurationError, match="no definition of SunSpec model 63999"):
        made_up([point], sunspec_bases=[40000])
