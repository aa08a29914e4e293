"""The wheel, installed where nothing of the checkout is in reach, is whole."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, and the dependencies of this one; the checkout's own install is not seen.

    A path in a .pth file is searched for packages, but .pth files in it, such as that of an editable install, are not
    read.
    """
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def said(folder: Path, elsewhere: Path, *command: str) -> str:
    """What a program of the fresh environment prints when it is called from another folder."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "EMSD_"))}
    program = folder / "bin" / command[0]
    done = subprocess.run(
        [program, *command[1:]], cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(folder: Path, elsewhere: Path, code: str) -> list[str]:
    return said(folder, elsewhere, "python", "-I", "-c", code).splitlines()


def test_the_wheel_holds_the_packages_and_nothing_beside_them(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"emsd", "collectors", "simulator"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    assert {f"{package}/py.typed" for package in ("emsd", "collectors", "simulator")} <= set(names)


def test_every_file_that_travels_with_the_code_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside, pattern in (
        ("src/emsd", "emsd", "*.py"),
        ("src/emsd", "emsd", "*.yaml"),
        ("collectors", "collectors", "*.py"),
        ("collectors", "collectors", "*.yaml"),
        ("simulator", "simulator", "*.py"),
        ("migrations", "emsd/migrations", "*.sql"),
        ("dashboards", "emsd/dashboards", "*.json"),
        ("dashboards", "emsd/dashboards", "*.yaml"),
    ):
        files = [path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob(pattern)]
        assert files, folder
        assert {f"{inside}/{path.as_posix()}" for path in files} <= names


def test_the_command_runs_from_any_folder(installed: Path, tmp_path: Path) -> None:
    help_text = said(installed, tmp_path, "emsd", "--help")
    for command in ("run", "demo", "simulate", "migrate", "check", "schema", "servers", "token"):
        assert command in help_text
    tree = said(installed, tmp_path, "emsd", "check", str(ROOT / "config" / "plant.example.yaml"))
    assert "25 meters" in tree


def test_packages_and_their_folders_are_found_in_the_installation(installed: Path, tmp_path: Path) -> None:
    places = ask(
        installed,
        tmp_path,
        "import emsd, collectors, simulator\n"
        "from emsd.resources import folder\n"
        "for module in (emsd, collectors, simulator): print(module.__file__)\n"
        "for name in ('migrations', 'dashboards', 'dashboards/json', 'dashboards/provisioning'): print(folder(name))",
    )
    assert len(places) == 7
    assert all(Path(place).is_relative_to(installed) for place in places)


def test_entry_points_resolve_and_profiles_are_data_of_the_package(installed: Path, tmp_path: Path) -> None:
    lines = ask(
        installed,
        tmp_path,
        "from importlib.metadata import entry_points\n"
        "for group in ('emsd.collectors', 'emsd.profiles', 'console_scripts'):\n"
        "    for each in entry_points(group=group):\n"
        "        if each.dist.name == 'emsd': each.load(); print(group, each.name)\n"
        "from emsd.plant.profiles import load_profiles\n"
        "print(len(load_profiles()))",
    )
    assert set(lines[:-1]) == {
        "emsd.collectors modbus_rtu",
        "emsd.collectors modbus_rtu_over_tcp",
        "emsd.collectors modbus_tcp",
        "emsd.collectors modbus_tls",
        "emsd.collectors modbus_udp",
        "emsd.collectors mqtt",
        "emsd.collectors sparkplug_b",
        "emsd.profiles emsd",
        "console_scripts emsd",
    }
    assert int(lines[-1]) == len(list((ROOT / "collectors" / "profiles").glob("*.yaml")))


def test_pytest_finds_the_fixtures_of_the_installation(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "def test_mine(emsd_plant, emsd_device):\n"
        "    assert emsd_plant.address('incomer').port != emsd_device('abb_b23').port\n"
    )
    assert "1 passed" in said(installed, tmp_path, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
