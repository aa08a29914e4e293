"""Where a running simulator takes questions and orders: left by `emsd simulate run` for the other commands.

The file simulator.json in emsd's data folder holds URL and token, readable by its user only; EMSD_SIMULATOR_URL and
EMSD_SIMULATOR_TOKEN say otherwise.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import typer

from emsd.errors import ConfigurationError, ServerError

__all__ = ["TOKEN_VARIABLE", "URL_VARIABLE", "Address", "ask_simulator", "find_simulator", "left_behind"]

URL_VARIABLE: Final = "EMSD_SIMULATOR_URL"
TOKEN_VARIABLE: Final = "EMSD_SIMULATOR_TOKEN"  # noqa: S105  (the name of a variable)
_ANSWER_S: Final = 30.0


class Address(NamedTuple):
    """Where a simulator listens, and what it wants to see."""

    url: str
    token: str | None = None


def find_simulator(url: str | None = None) -> Address:
    """Return the address of the simulator that runs: a given one, the environment's, or the one that was left.

    Raises:
        ServerError: nobody has left one.
    """
    token = os.environ.get(TOKEN_VARIABLE) or None
    url = url or os.environ.get(URL_VARIABLE) or None
    if url is not None and token is not None:
        return Address(url, token)
    path = _file()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        left = Address(str(found["url"]), found["token"])
    except (OSError, ValueError, KeyError, TypeError):
        if url is not None:
            return Address(url)
        raise ServerError(
            f"no simulator has left its address in {path}; start one with `emsd simulate PLANT`, or set {URL_VARIABLE}"
        ) from None
    return left if url in {None, left.url} else Address(str(url))


def ask_simulator(address: Address, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
    """Return what a simulator answers to a request, None for nothing.

    Raises:
        ConfigurationError: it refuses, with its reason; or the URL is none.
        ServerError: nobody answers.
    """
    parts = urlsplit(address.url)
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigurationError(f"{address.url!r} is not like http://127.0.0.1:15900; correct it")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_ANSWER_S)
    headers = {"Content-Type": "application/json"}
    if address.token:
        headers["Authorization"] = f"Bearer {address.token}"
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        said = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ServerError(f"no simulator answers at {address.url} ({error}); is it still running?") from error
    finally:
        connection.close()
    if answer.status >= http.client.BAD_REQUEST:
        raise ConfigurationError(_reason(said) or f"the simulator at {address.url} answered {answer.status}")
    try:
        return json.loads(said) if said else None
    except ValueError as error:
        raise ServerError(f"what listens at {address.url} is no simulator; correct the address") from error


@contextmanager
def left_behind(address: Address) -> Iterator[None]:
    """Leave an address for the other commands until the block ends.

    Where the file cannot be written the environment has to say it, and a warning says so.
    """
    from emsd.servers.places import write_privately

    said = json.dumps(address._asdict())
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_privately(path, said)
    except OSError as error:
        typer.echo(
            f"{path} cannot be written ({error.strerror or error}); "
            f"set {URL_VARIABLE}={address.url} for `emsd simulate fault`",
            err=True,
        )
    try:
        yield
    finally:
        _take_back(path, said)


def _take_back(path: Path, said: str) -> None:
    """Remove the address, unless it is another simulator's by now."""
    try:
        if path.read_text(encoding="utf-8") == said:
            path.unlink()
    except OSError:
        return


def _file() -> Path:
    from emsd.servers.places import find_places

    return find_places().data / "simulator.json"


def _reason(said: bytes) -> str:
    """Return what the control API has against a request, in one line."""
    try:
        detail = json.loads(said)["detail"]
    except (ValueError, KeyError, TypeError):
        return ""
    if isinstance(detail, str):
        return detail
    return "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in detail)
