"""The disk is full when the database is back: no batch of the backlog is left behind, and none is sent twice.

A full disk is a small filesystem in memory, where a user may mount one; a limit to the size of files stands in for it
everywhere. SQLite tells the two apart (SQLITE_FULL, SQLITE_IOERR_WRITE).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

CHILD: Final = """
import resource, sys
sys.path.insert(0, {here!r})
from pathlib import Path
import test_spool_folder as here
from emsd.errors import SpoolUnavailable
folder, kind = Path(sys.argv[1]), sys.argv[2]
ballast = folder / "ballast"
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

def fill():
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
        return
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass

def make_room():
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    else:
        ballast.unlink()

spool = here.opened(folder / "spool")
for number in range(6):
    spool.save(here.batch(number, 1000))
fill()
refused, readings = 0, []
for _ in range(3):
    try:
        spool.save(here.batch(99, 1000))
    except SpoolUnavailable:
        refused += 1
    try:
        some = spool.take(1)
    except SpoolUnavailable:
        continue
    readings += some.readings
    spool.forget(some.batch_ids)
assert refused == 3, "the disk is full"
make_room()
readings += here.drained(spool)
assert readings == [each for number in range(6) for each in here.batch(number, 1000)], len(readings)
assert (spool.totals().batches, spool.totals().lost) == (0, 0)
"""
MOUNTED: Final = 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"'


def command(folder: Path, kind: str, *what: str) -> list[str]:
    if kind == "limit":
        return list(what)
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNTED, str(folder), *what]


def kinds() -> list[str]:
    """Return the kinds of full disks that this machine lets us make."""
    if shutil.which("unshare") is None:
        return ["limit"]
    tried = subprocess.run(command(Path("/tmp"), "filesystem", "true"), check=False, capture_output=True)  # noqa: S108
    return ["limit", *(["filesystem"] if tried.returncode == 0 else [])]


@pytest.mark.parametrize("kind", kinds())
def test_what_waits_when_the_disk_is_full_is_left_neither_behind_nor_sent_twice(tmp_path: Path, kind: str) -> None:
    code = CHILD.format(here=str(Path(__file__).parent))
    child = command(tmp_path, kind, sys.executable, "-c", code, str(tmp_path), kind)
    done = subprocess.run(child, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
