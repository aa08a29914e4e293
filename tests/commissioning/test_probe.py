"""`emsd probe` and `emsd scan` against simulated devices: the right way to read one is found, nothing is written."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from emsd.plant.models import Plant
from emsd.plant.profile import Profile
from simulator import Simulator
from tests.collectors.support import profile
from tests.e2e.plants import written


def plant_of(profile_name: str, *, units: Mapping[str, int] = {"feeder": 7}, rated_kw: float = 250.0) -> Plant:
    return Plant.model_validate(
        {
            "site": {"name": "Works", "time_zone": "Asia/Shanghai", "carbon_region": "CN"},
            "areas": [{"key": "hall", "name": "Hall"}],
            "assets": [
                {"key": "tool", "name": "Tool", "kind": "process_tool", "area": "hall", "rated_power_kw": rated_kw}
            ],
            "connections": [{"key": "gateway", "host": "127.0.0.1", "port": 1502, "timeout_s": 0.5}],
            "meters": [
                {
                    "key": key,
                    "name": key,
                    "asset": "tool",
                    "profile": profile_name,
                    "connection": "gateway",
                    "unit_id": unit,
                }
                for key, unit in units.items()
            ],
        }
    )


def with_map(name: str, **changes: object) -> Profile:
    """Return a shipped profile whose device is set differently."""
    shipped = profile(name)
    assert shipped.modbus is not None
    return shipped.model_copy(update={"modbus": shipped.modbus.model_copy(update=changes)})


@asynccontextmanager
async def device(plant: Plant, served: Profile) -> AsyncIterator[Simulator]:
    async with Simulator(plant, {served.profile: served}, free_ports=True) as simulator:
        yield simulator


async def emsd(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "emsd", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def probed(simulator: Simulator, *arguments: str) -> dict[str, Any]:
    address = f"127.0.0.1:{simulator.ports['gateway']}"
    code, out, err = await emsd("probe", address, *arguments, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize(
    ("word_order", "byte_order", "letters"),
    [("big", "big", "ABCD"), ("little", "big", "CDAB"), ("big", "little", "BADC"), ("little", "little", "DCBA")],
)
@pytest.mark.parametrize("name", ["eastron_sdm630", "carlo_gavazzi_em340", "schneider_pm5560"])
async def test_the_word_and_byte_order_of_a_device_is_found(
    name: str, word_order: str, byte_order: str, letters: str
) -> None:
    async with device(plant_of(name), with_map(name, word_order=word_order, byte_order=byte_order)) as simulator:
        found = await probed(simulator, "--unit", "7", "--profile", name)
    best, *others = found["candidates"]
    assert (best["order"], best["address_shift"]) == (letters, 0)
    assert all(best["score"] > each["score"] for each in others), [each["score"] for each in found["candidates"]]
    assert best["values"]["frequency_hz"] == pytest.approx(50.0, abs=0.5)


async def test_a_meter_whose_profile_is_wrong_is_told_what_to_change(tmp_path: Path) -> None:
    plant = plant_of("eastron_sdm630")
    async with device(plant, with_map("eastron_sdm630", word_order="little")) as simulator:
        # The plant's own description names the shipped profile, which says high word first.
        path = written(simulator.served_plant, {}, tmp_path)
        code, out, err = await emsd("probe", "--plant", str(path), "--meter", "feeder")
    assert code == 0, err
    assert "CDAB" in out.splitlines()[4]
    assert "does not read this device as it is written" in " ".join(out.split())
    assert "word_order: little" in out


@pytest.mark.parametrize("off_by", [-1, 1])
async def test_a_map_that_is_one_off_is_found(off_by: int) -> None:
    name = "schneider_pm5560"
    shipped = profile(name)
    assert shipped.modbus is not None
    points = tuple(
        point.model_copy(update={"address": (point.address or 0) + off_by}) for point in shipped.modbus.points
    )
    async with device(plant_of(name), with_map(name, points=points, identity=())) as simulator:
        found = await probed(simulator, "--unit", "7", "--profile", name)
    best = found["candidates"][0]
    assert (best["address_shift"], best["order"]) == (off_by, "ABCD")


async def test_the_unit_that_answers_is_found_among_several() -> None:
    async with device(plant_of("abb_b23"), profile("abb_b23")) as simulator:
        found = await probed(simulator, "--unit", "3", "--unit", "7", "--profile", "abb_b23")
    assert {each["unit"] for each in found["candidates"]} == {7}
    assert found["candidates"][0]["as_written"]


async def test_without_a_profile_the_library_is_tried() -> None:
    async with device(plant_of("abb_b23"), profile("abb_b23")) as simulator:
        found = await probed(simulator, "--unit", "7")
    assert found["guesses"][0]["profile"] == "abb_b23"


async def test_probing_shows_raw_words_beside_values() -> None:
    async with device(plant_of("abb_b23"), profile("abb_b23")) as simulator:
        port = simulator.ports["gateway"]
        code, out, err = await emsd("probe", f"127.0.0.1:{port}", "--unit", "7", "--profile", "abb_b23")
    assert code == 0, err
    row = next(line for line in out.splitlines() if "frequency_hz" in line)
    value, words = float(row.split("│")[2]), row.split("│")[5].split()
    assert value == pytest.approx(int("".join(words), 16) * 0.01)
    assert "reads this device as it is written" in out


async def test_nothing_but_reads_is_ever_sent() -> None:
    functions: set[int] = set()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Refuse every request as a device with other registers would, and note its function."""
        try:
            while True:
                head = await reader.readexactly(8)
                await reader.readexactly(int.from_bytes(head[4:6], "big") - 2)
                functions.add(head[7])
                writer.write(head[:4] + b"\x00\x03" + bytes((head[6], head[7] | 0x80, 2)))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await emsd("probe", address, "--unit", "7")
        await emsd("probe", address, "--unit", "7", "--profile", "abb_b23")
        code, _, _ = await emsd("scan", address, "--units", "1-3", "--identify", "--json")
    assert code == 0
    assert functions == {3, 4}


async def test_silence_is_one_sentence_and_exit_code_1() -> None:
    code, out, err = await emsd("probe", "127.0.0.1:1", "--unit", "1", "--profile", "abb_b23", "--timeout", "0.2")
    assert (code, out) == (1, "")
    assert "nothing at 127.0.0.1:1 answered as unit 1; check address" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("probe",), "give either an address"),
        (("probe", "127.0.0.1", "--profile", "abb_b32"), 'did you mean "abb_b23"'),
        (("probe", "127.0.0.1:99999", "--profile", "abb_b23"), "127.0.0.1:99999: "),
        (("probe", "/dev/ttyS0", "--kind", "modbus_tcp"), "does not fit /dev/ttyS0"),
        (("scan", "127.0.0.1", "--units", "1-300"), "beyond 0..255"),
        (("scan", "127.0.0.1", "--units", "one"), "is not a list such as 1-32,247"),
    ],
)
async def test_what_is_not_understood_is_refused_before_anything_is_asked(
    arguments: tuple[str, ...], says: str
) -> None:
    code, _, err = await emsd(*arguments)
    assert code == 2
    assert says in err


async def test_a_scan_lists_the_units_that_answer_and_what_they_may_be() -> None:
    plant = plant_of("eastron_sdm630", units={"a": 2, "b": 5})
    async with device(plant, profile("eastron_sdm630")) as simulator:
        address = f"127.0.0.1:{simulator.ports['gateway']}"
        code, out, err = await emsd("scan", address, "--units", "1-6", "--identify", "--json")
        assert code == 0, err
        found = json.loads(out)
        assert found["asked"] == 6
        assert [each["unit"] for each in found["units"]] == [2, 5]
        assert {each["profile"] for each in found["units"]} == {"eastron_sdm630"}
        code, out, _ = await emsd("scan", address, "--units", "1,3")
        assert code == 1


async def test_silent_units_do_not_end_a_scan() -> None:
    plant = plant_of("eastron_sdm630", units={"a": 3})
    async with Simulator(
        plant, {"eastron_sdm630": profile("eastron_sdm630")}, free_ports=True, silent_for_unknown_units=True
    ) as simulator:
        address = f"127.0.0.1:{simulator.ports['gateway']}"
        code, out, err = await emsd("scan", address, "--units", "1-4", "--timeout", "0.2", "--json")
    assert code == 0, err
    assert [each["unit"] for each in json.loads(out)["units"]] == [3]
