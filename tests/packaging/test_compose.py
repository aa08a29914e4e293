"""docker-compose.yml, checked without an engine: what it names exists, what it promises is written, nothing is open."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML
from typer.core import TyperGroup

from emsd.cli import app
from emsd.cli.simulate.address import Address, find_simulator, left_behind
from emsd.plant.loader import load_plant
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.mqtt_connection import MqttConnection

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = YAML(typ="safe").load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
# ${NAME}, ${NAME:-default}, ${NAME:?message}; $$ is a dollar for the container's shell.
VARIABLE = re.compile(r"(?<!\$)\$(?:\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}|(?P<bare>\w+))")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN")
ONE_SHOT = {"migrate"}


def with_defaults(text: str) -> str:
    """Replace variables by their defaults, or by what .env.example sets."""
    given = dict(re.findall(r"^(\w+)=(.*)$", ENV_EXAMPLE, re.MULTILINE))
    return VARIABLE.sub(lambda match: given.get(match["name"]) or match["rest"] or "", text)


def names_in_env_example() -> set[str]:
    return set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", ENV_EXAMPLE, re.MULTILINE))


each_service = pytest.mark.parametrize("name", SERVICES)


def test_the_services_are_those_of_the_architecture() -> None:
    assert set(SERVICES) == {"timescaledb", "mosquitto", "migrate", "emsd", "grafana", "simulator"}
    assert SERVICES["simulator"]["profiles"] == ["demo"]
    assert all("profiles" not in service for name, service in SERVICES.items() if name != "simulator")


def test_every_variable_is_explained_in_env_example_and_none_there_is_unused() -> None:
    matches = list(VARIABLE.finditer(TEXT))
    assert all(match["bare"] is None for match in matches), (
        "write ${NAME}, so that a default or a refusal stands with it"
    )
    assert {match["name"] for match in matches} == names_in_env_example()


def test_every_variable_has_a_default_or_refuses_to_be_empty() -> None:
    for match in VARIABLE.finditer(TEXT):
        assert match["kind"] in {"-", "?"}, match.group()


def test_no_secret_has_a_value_or_a_default() -> None:
    for match in VARIABLE.finditer(TEXT):
        if SECRET.search(match["name"]):
            assert match["kind"] == "?", match.group()
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", str(value)), name
    for name, value in re.findall(r"^(\w+)=(.*)$", ENV_EXAMPLE, re.MULTILINE):
        assert not (SECRET.search(name) and value), f"{name} must be empty in .env.example"


@each_service
def test_services_run_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert any(PurePosixPath(each.partition(":")[0]).name == "tmp" for each in service["tmpfs"]), (
        "its root is read-only"
    )
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & service.keys()
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))


@each_service
def test_images_are_pinned(name: str) -> None:
    repository, _, tag = SERVICES[name]["image"].partition(":")
    assert repository
    assert re.match(r"\d+\.\d+\.\d+", tag), "a full version, so that the same file starts the same programs next year"


def test_the_image_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {SERVICES[name]["image"] for name in ("emsd", "migrate", "simulator")} == {f"emsd:{version}"}


@each_service
def test_services_have_health_checks_or_end_by_themselves(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    if name in ONE_SHOT:
        assert check == {"disable": True}
        assert SERVICES[name]["restart"] == "no"
    else:
        assert check["test"][0] in {"CMD", "CMD-SHELL"}
        assert {"interval", "timeout", "retries", "start_period"} <= check.keys()
        assert SERVICES[name]["restart"] == "unless-stopped"
        for code in (word for word in check["test"] if word.startswith("import ")):
            compile(code, name, "exec")


@each_service
def test_services_wait_for_what_they_need(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        expected = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert how["condition"] == expected
        assert set(SERVICES[other]["networks"]) & set(SERVICES[name]["networks"]) or other in ONE_SHOT


@each_service
def test_ports_are_open_on_this_machine_only_until_told_otherwise(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"\$\{EMSD_\w+_PUBLISH_ADDRESS:-127\.0\.0\.1\}:\$\{EMSD_\w+_PUBLISH_PORT:-\d+\}:\d+", port)


def test_grafana_cannot_reach_devices_and_devices_cannot_reach_the_database() -> None:
    members = {
        network: {name for name in SERVICES if network in SERVICES[name]["networks"]} for network in COMPOSE["networks"]
    }
    assert members["database"] == {"timescaledb", "migrate", "emsd", "grafana"}
    assert members["field"] == {"mosquitto", "emsd", "simulator"}


@each_service
def test_mounted_files_exist_and_volumes_are_named(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, target, *mode = with_defaults(volume).split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert mode == ["ro"], f"{source} must not be writable from a container"
        else:
            assert source in COMPOSE["volumes"]


def test_nothing_that_lasts_lies_in_a_container() -> None:
    data = {"timescaledb": "/var/lib/postgresql/data", "mosquitto": "/mosquitto/data", "grafana": "/var/lib/grafana"}
    for name, folder in data.items():
        assert f"{name}-data:{folder}" in SERVICES[name]["volumes"]


@pytest.mark.parametrize("name", ["migrate", "emsd", "simulator"])
def test_commands_and_options_are_those_of_the_command_line(name: str) -> None:
    arguments = list(SERVICES[name]["command"])
    known = typer.main.get_command(app)
    while isinstance(known, TyperGroup):
        known = known.commands[arguments.pop(0)]
    options = {option for parameter in known.params for option in parameter.opts}
    assert {each for each in arguments if each.startswith("-")} <= options


def test_the_reader_has_the_same_password_where_it_is_set_and_where_it_is_used() -> None:
    places = [SERVICES[name]["environment"]["EMSD_READER_PASSWORD"] for name in ("migrate", "grafana")]
    assert places[0] == places[1]
    assert SERVICES["migrate"]["command"][-1] == "EMSD_READER_PASSWORD"


def test_grafana_gets_every_variable_that_its_provisioning_names() -> None:
    for path in (ROOT / "dashboards" / "provisioning").rglob("*.yaml"):
        lines = (line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
        for name in re.findall(r"\$(EMSD_\w+)", "\n".join(lines)):
            assert name in SERVICES["grafana"]["environment"], f"{path.name} names {name}"
    environment = SERVICES["grafana"]["environment"]
    folder = environment["EMSD_DASHBOARDS_PATH"]
    assert f"./dashboards/json:{folder}:ro" in SERVICES["grafana"]["volumes"]
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].removeprefix(folder).lstrip("/")
    assert (ROOT / "dashboards" / "json" / home).is_file()


def test_the_example_plant_finds_its_devices_in_the_network_of_the_file() -> None:
    environment = {key: with_defaults(str(value)) for key, value in SERVICES["emsd"]["environment"].items()}
    folder, _, mounted = with_defaults(SERVICES["emsd"]["volumes"][0]).removesuffix(":ro").rpartition(":")
    plant = environment["EMSD_PLANT"].removeprefix(mounted).lstrip("/")
    loaded = load_plant(ROOT / folder / plant, environ={**environment, "EMSD_MQTT_PASSWORD": "some"})
    listener = re.search(
        r"^listener (\d+)$", (ROOT / "config/docker/mosquitto/mosquitto.conf").read_text(), re.MULTILINE
    )
    assert listener is not None
    for connection in loaded.plant.connections:
        if isinstance(connection, MqttConnection):
            assert (connection.host, connection.port) == ("mosquitto", int(listener[1]))
            assert connection.username == "emsd"
        else:
            assert isinstance(connection, ModbusTcpConnection)
            assert connection.host == "simulator"
    ports = [each.port for each in loaded.plant.connections if isinstance(each, ModbusTcpConnection)]
    assert str(ports[0]) in SERVICES["simulator"]["healthcheck"]["test"][-1]


def test_commands_in_the_simulators_container_find_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = PurePosixPath(SERVICES["simulator"]["environment"]["EMSD_DATA_DIR"])
    # All else is read-only, and its user has no home.
    assert any(folder.is_relative_to(each.partition(":")[0]) for each in SERVICES["simulator"]["tmpfs"])
    monkeypatch.setenv("EMSD_DATA_DIR", str(tmp_path / folder.name))
    with left_behind(Address("http://127.0.0.1:15900")):
        assert find_simulator().url == "http://127.0.0.1:15900"
