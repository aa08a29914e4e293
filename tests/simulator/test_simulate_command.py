"""`emsd simulate` as a person runs it: in a process of its own."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = "import typer; from emsd.cli.simulate import simulate; typer.run(simulate)"
LIMIT_S = 120

PLANT = """\
version: 1
site: {{name: Hall, time_zone: Europe/Berlin, carbon_region: DE}}
areas: [{{key: hall, name: Hall}}]
assets: [{{key: lamps, name: Lamps, kind: lighting, area: hall, rated_power_kw: 20}}]
connections: [{{key: board, host: {host}, port: {port}}}]
meters: [{{key: lamps, name: Lamps, asset: lamps, profile: abb_b23, connection: board, unit_id: 1}}]
"""


def written(folder: Path, *, host: str = "127.0.0.1", port: int) -> Path:
    path = folder / "plant.yaml"
    path.write_text(PLANT.format(host=host, port=port))
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=REPOSITORY,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def own_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave the address of a simulator that runs outside of the tests alone."""
    monkeypatch.setenv("EMSD_DATA_DIR", str(tmp_path / "data"))


async def free_port() -> int:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        return int(server.sockets[0].getsockname()[1])


async def test_it_stops_by_itself_and_tells_the_true_energy(tmp_path: Path) -> None:
    done = await asyncio.to_thread(run, written(tmp_path, port=await free_port()), "--duration", "1")
    assert done.returncode == 0, done.stderr
    assert "What really flowed" in done.stdout
    row = next(line for line in done.stdout.splitlines() if "lamps" in line)
    assert 0.0 < float(row.split("│")[2]) < 0.1  # 20 kW for about a second


async def test_a_signal_stops_it_cleanly(tmp_path: Path) -> None:
    plant = written(tmp_path, port=await free_port())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(plant), stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            while b"listens on port" not in await process.stdout.readline():
                pass
            process.send_signal(signal.SIGTERM)
            rest = await process.stdout.read()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert b"What really flowed" in rest


async def test_a_port_in_use_ends_it_with_one_sentence(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        plant = written(tmp_path, port=server.sockets[0].getsockname()[1])
        done = await asyncio.to_thread(run, plant, "--duration", "1")
    assert done.returncode == 1
    assert "board cannot listen on 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_wrong_description_ends_it_with_its_faults(tmp_path: Path) -> None:
    done = await asyncio.to_thread(run, tmp_path / "absent.yaml")
    assert done.returncode == 2
    assert "absent.yaml" in done.stderr
    assert "Traceback" not in done.stderr


async def test_other_machines_are_let_in_only_when_told_so(tmp_path: Path) -> None:
    plant = written(tmp_path, host="0.0.0.0", port=await free_port())
    done = await asyncio.to_thread(run, plant, "--duration", "1")
    assert done.returncode == 2
    assert "other machines can reach" in done.stderr
    allowed = await asyncio.to_thread(run, plant, "--duration", "0.5", "--allow-remote")
    assert allowed.returncode == 0, allowed.stderr


LINE = """\
version: 1
site: {{name: Hall, time_zone: Europe/Berlin, carbon_region: DE}}
areas: [{{key: hall, name: Hall}}]
assets: [{{key: lamps, name: Lamps, kind: lighting, area: hall, rated_power_kw: 20}}]
connections:
  - {{key: line, kind: modbus_rtu, device: {device}}}
  - {{key: safe, kind: modbus_tls, host: 127.0.0.1, port: {port}}}
meters:
  - {{key: lamps, name: Lamps, asset: lamps, profile: abb_b23, connection: line, unit_id: 1}}
  - {{key: more, name: More lamps, asset: lamps, profile: abb_b23, connection: safe, unit_id: 1}}
"""


async def test_a_serial_line_and_certificates_are_told_and_left_as_they_should_be(tmp_path: Path) -> None:
    plant, device, certificates = tmp_path / "plant.yaml", tmp_path / "line", tmp_path / "certificates"
    plant.write_text(LINE.format(device=device, port=await free_port()))
    done = await asyncio.to_thread(run, plant, "--duration", "0.5", "--certificates", certificates)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert f"line is served at {device}" in told
    assert "safe listens on port" in told
    assert not device.is_symlink()
    assert (certificates / "ca.pem").exists()


async def test_without_a_subcommand_a_plant_is_run(tmp_path: Path) -> None:
    plant = written(tmp_path, port=await free_port())
    for words in (
        (str(plant), "--duration", "0"),
        ("--duration", "0", str(plant)),
        ("run", str(plant), "--duration=0"),
    ):
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "emsd", "simulate", *words, "--seed", "2", "--duration", "0"],
            capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=REPOSITORY,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "What really flowed" in done.stdout
