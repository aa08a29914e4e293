"""The programs of the two servers: those of this machine if it has them, else a private copy.

/usr/lib/postgresql/17/bin with timescaledb.control     taken as it is
otherwise  <cache>/timescaledb.1/  <cache>/mosquitto.1/  unpacked once, under a lock, and recorded in manifest.json
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from emsd.errors import ServerError
from emsd.servers.lock import file_lock
from emsd.servers.packages import PrivateApt, Progress, Tools, find_sources, find_tools, unsupported
from emsd.servers.places import find_places, make_folder, require_reachable, run_as
from emsd.servers.process import ask
from emsd.servers.unpack import RECIPE, Manifest, faults_of, read_manifest, require_space, unpack

__all__ = ["Installation", "MosquittoPrograms", "PostgresPrograms", "ServerName", "install"]

ServerName: TypeAlias = Literal["timescaledb", "mosquitto"]

TIMESCALEDB_PACKAGE = re.compile(r"postgresql-(\d+)-timescaledb")
MOSQUITTO_PACKAGES = ("mosquitto", "mosquitto-clients")
OLDEST_POSTGRES = 15
# Where distributions put programs that are not for ordinary users' PATH.
SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin:/opt/homebrew/sbin:/opt/homebrew/bin"
TIME_ZONES = Path("/usr/share/zoneinfo")


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """A PostgreSQL with TimescaleDB: `folder` holds postgres, initdb, pg_ctl and psql."""

    folder: Path
    version: str
    manifest: Manifest | None
    """None when they are the machine's own."""

    def program(self, name: str) -> Path:
        """The path of one of PostgreSQL's programs: `psql`, `pg_dump`."""
        return self.folder / name


@dataclass(frozen=True, slots=True)
class MosquittoPrograms:
    """A Mosquitto broker and its clients."""

    broker: Path
    passwd: Path
    pub: Path
    sub: Path
    version: str
    manifest: Manifest | None
    """None when they are the machine's own."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What `install` found or made; a server that was not asked for is None."""

    timescaledb: PostgresPrograms | None = None
    mosquitto: MosquittoPrograms | None = None

    def faults(self) -> list[str]:
        """Each file of the private copies whose content is not the recorded one."""
        manifests = [part.manifest for part in (self.timescaledb, self.mosquitto) if part and part.manifest]
        return [fault for manifest in manifests for fault in faults_of(Path(manifest.root), manifest)]


def install(
    *servers: ServerName,
    progress: Progress | None = None,
    cache: Path | None = None,
    search_path: str | None = None,
    use_local: bool = True,
) -> Installation:
    """Make the programs of `servers` (both, when none is named) ready to run; a quick no-op if they are.

    `progress` is told what is being done and the share done (0..1 or None). `cache` is the folder of the private
    copies, `search_path` a PATH to find this machine's programs in, and `use_local=False` passes over servers that the
    machine has.

    Raises:
        UnsupportedMachine: there is neither a server nor a Debian-like package manager here.
        ServerError: no network, no disk space, or another process holds the lock for 10 minutes.
    """
    wanted: tuple[ServerName, ...] = servers or ("timescaledb", "mosquitto")
    local_timescaledb = local_mosquitto = None
    if use_local:
        local_timescaledb = next(_local_postgres(search_path), None) if "timescaledb" in wanted else None
        local_mosquitto = _local_mosquitto(search_path) if "mosquitto" in wanted else None
    missing: list[ServerName] = []
    if "timescaledb" in wanted and local_timescaledb is None:
        missing.append("timescaledb")
    if "mosquitto" in wanted and local_mosquitto is None:
        missing.append("mosquitto")
    folder = find_places().cache if cache is None else cache.absolute()
    copies = _private_copies(missing, folder, search_path, progress or (lambda _what, _share: None))
    return Installation(
        _postgres_of(copies["timescaledb"]) if "timescaledb" in copies else local_timescaledb,
        _mosquitto_of(copies["mosquitto"]) if "mosquitto" in copies else local_mosquitto,
    )


def _local_postgres(search_path: str | None) -> Iterator[PostgresPrograms]:
    """Every PostgreSQL of this machine that has TimescaleDB, the newest first."""
    by_number = sorted(
        (folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if folder.parent.name.isdecimal()),
        key=lambda folder: -int(folder.parent.name),
    )
    candidates = [(folder, Path("/usr/share/postgresql") / folder.parent.name) for folder in by_number]
    if pg_config := shutil.which("pg_config", path=search_path):
        asked = ask([pg_config, "--bindir", "--sharedir"]).stdout.splitlines()
        if len(asked) == 2:
            candidates.append((Path(asked[0]), Path(asked[1])))
    for folder, share in candidates:
        has_programs = all((folder / name).is_file() for name in ("postgres", "initdb", "pg_ctl", "psql"))
        if has_programs and (share / "extension" / "timescaledb.control").is_file():
            programs = PostgresPrograms(folder, _version_of(folder / "postgres"), manifest=None)
            if int(programs.version.partition(".")[0]) >= OLDEST_POSTGRES:
                yield programs


def _local_mosquitto(search_path: str | None) -> MosquittoPrograms | None:
    places = {
        name: shutil.which(name, path=search_path)
        or (shutil.which(name, path=SYSTEM_PATH) if search_path is None else None)
        for name in ("mosquitto", "mosquitto_passwd", "mosquitto_pub", "mosquitto_sub")
    }
    found = {name: Path(place) for name, place in places.items() if place is not None}
    if len(found) < len(places):
        return None
    version = _version_of(found["mosquitto"], "-h")
    if int(version.partition(".")[0]) < 2:
        return None
    return MosquittoPrograms(
        found["mosquitto"], found["mosquitto_passwd"], found["mosquitto_pub"], found["mosquitto_sub"], version, None
    )


def _version_of(program: Path, option: str = "--version") -> str:
    said = ask([program, option]).stdout
    number = re.search(r"\d+(\.\d+)+", said)
    return number.group() if number else "0.0"


def _private_copies(
    servers: Sequence[ServerName], cache: Path, search_path: str | None, progress: Progress
) -> dict[ServerName, Manifest]:
    """The manifests of the whole copies of `servers`, made first where there are none."""
    copies = _whole_copies(servers, cache)
    if len(copies) == len(servers):
        return copies
    tools = find_tools(search_path)
    cache = make_folder(cache)
    if (account := run_as()) is not None:
        require_reachable(cache, account)
    with file_lock(cache / "lock", on_wait=lambda: progress("another process is installing", None)):
        copies = _whole_copies(servers, cache)  # some were perhaps made by the process that held the lock
        missing = [server for server in servers if server not in copies]
        return {**copies, **(_install_missing(missing, cache, tools, progress) if missing else {})}


def _whole_copies(servers: Sequence[ServerName], cache: Path) -> dict[ServerName, Manifest]:
    found = ((server, read_manifest(_root(server, cache))) for server in servers)
    return {server: manifest for server, manifest in found if manifest is not None}


def _root(server: ServerName, cache: Path) -> Path:
    return cache.resolve() / f"{server}.{RECIPE}"


def _install_missing(
    servers: Sequence[ServerName], cache: Path, tools: Tools, progress: Progress
) -> dict[ServerName, Manifest]:
    if "timescaledb" in servers and not (TIME_ZONES / "Europe").is_dir():
        raise ServerError(f"{TIME_ZONES} is missing, without which a site's local days are unknown; install tzdata")
    require_space(cache)
    apt = PrivateApt(cache / "apt", tools)
    for source in find_sources(tools):
        apt.use(source, progress)
        packages = {server: _packages_of(server, apt) for server in servers}
        if not all(packages.values()):
            continue
        closures = {server: apt.closure(names) for server, names in packages.items()}
        archives = apt.download({name: file for part in closures.values() for name, file in part.items()}, progress)
        copies = {
            server: unpack([archives[name] for name in names], _root(server, cache), tools, progress)
            for server, names in closures.items()
        }
        apt.remove()
        return copies
    raise unsupported(f"its package mirror has no {' or no '.join(servers)}")


def _packages_of(server: ServerName, apt: PrivateApt) -> list[str]:
    """The packages to ask for; empty when the mirror does not have them."""
    if server == "mosquitto":
        known = apt.names("mosquitto")
        return [name for name in MOSQUITTO_PACKAGES if name in known]
    majors = [int(match[1]) for name in apt.names("postgresql-") if (match := TIMESCALEDB_PACKAGE.fullmatch(name))]
    if not majors:
        return []
    return [f"postgresql-{max(majors)}", f"postgresql-client-{max(majors)}", f"postgresql-{max(majors)}-timescaledb"]


def _postgres_of(manifest: Manifest) -> PostgresPrograms:
    folder = next(Path(manifest.root).glob("usr/lib/postgresql/*/bin"))
    return PostgresPrograms(folder, manifest.packages[f"postgresql-{folder.parent.name}"].partition("-")[0], manifest)


def _mosquitto_of(manifest: Manifest) -> MosquittoPrograms:
    root = Path(manifest.root)
    return MosquittoPrograms(
        broker=root / "usr/sbin/mosquitto",
        passwd=root / "usr/bin/mosquitto_passwd",
        pub=root / "usr/bin/mosquitto_pub",
        sub=root / "usr/bin/mosquitto_sub",
        version=manifest.packages["mosquitto"].partition("-")[0],
        manifest=manifest,
    )
