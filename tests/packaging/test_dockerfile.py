"""The Dockerfile, checked without an engine; its health check is run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from emsd.settings import Settings

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions() -> list[tuple[str, str]]:
    """Every instruction with its argument, continued lines joined, in order."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = (line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip())
    return [(line.partition(" ")[0], re.sub(r"\s+", " ", line.partition(" ")[2])) for line in lines]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for each in instructions():
        if each[0] == "FROM":
            found.append([])
        found[-1].append(each)
    return found


def arguments(name: str) -> list[str]:
    return [argument for instruction, argument in stages()[-1] if instruction == name]


def copied() -> set[str]:
    sources: set[str] = set()
    for instruction, argument in stages()[0]:
        if instruction == "COPY":
            sources.update(argument.split()[:-1])
    return sources


def test_base_images_are_pinned_to_a_version() -> None:
    for stage in stages():
        image = stage[0][1].split()[0]
        assert re.fullmatch(r"python:\d+\.\d+-slim", image)
        minor = ".".join(image.removeprefix("python:").removesuffix("-slim").split("."))
        assert f"Programming Language :: Python :: {minor}" in PROJECT["project"]["classifiers"]


def test_what_is_copied_exists_is_not_ignored_and_holds_all_that_the_wheel_has() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*", "everything is left out that is not named"
    for source in copied():
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert {each.split("/")[0] for each in included} <= copied()
    assert {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"], "pyproject.toml"} <= copied()


def test_everything_installed_is_pinned_without_an_index_address() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    pinned = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pinned[canonicalize_name(name)] = version
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"constraints.txt does not pin {requirement.name}"
        assert requirement.specifier.contains(pinned[name], prereleases=True)
    environment = next(argument for name, argument in stages()[0] if name == "ENV")
    assert "PIP_CONSTRAINT=/build/constraints.txt" in environment


def test_it_runs_as_nobody_special_and_ends_on_sigterm() -> None:
    names = [name for name, _ in stages()[-1]]
    (user,) = arguments("USER")
    assert all(int(each) >= 10_000 for each in user.split(":"))
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert arguments("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(arguments("ENTRYPOINT")[0])[0] in PROJECT["project"]["scripts"]
    assert json.loads(arguments("CMD")[0]) == ["run"]
    assert arguments("EXPOSE") == [str(Settings.model_fields["api_port"].default)]


@pytest.fixture
def answers() -> Iterator[tuple[int, dict[str, int]]]:
    """A port, and path -> status of what answers there."""
    statuses: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.get(self.path, 404))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="answers")
        thread.start()
        yield server.server_address[1], statuses
        server.shutdown()
        thread.join()


def test_the_health_check_succeeds_exactly_while_healthz_answers_well(answers: tuple[int, dict[str, int]]) -> None:
    port, statuses = answers
    (check,) = arguments("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[0] == "python"

    def exit_code() -> int:
        environment = {**os.environ, "EMSD_API_PORT": str(port)}
        done = subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, check=False)
        return done.returncode

    statuses["/healthz"] = 200
    assert exit_code() == 0
    statuses["/healthz"] = 503
    assert exit_code() != 0
