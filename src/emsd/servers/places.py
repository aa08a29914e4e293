"""Where the private servers live on this machine, and as whom they run.

| | programs (may be deleted at any time) | data |
|---|---|---|
| `EMSD_CACHE_DIR` is set | there | `data/` in there |
| root | `/var/cache/emsd` | `/var/lib/emsd` |
| anyone else | `$XDG_CACHE_HOME/emsd`, else `~/.cache/emsd` | `$XDG_DATA_HOME/emsd`, else `~/.local/share/emsd` |

`EMSD_DATA_DIR` moves the data alone.

PostgreSQL refuses to run as root. Root therefore runs the servers as an unprivileged account that exists everywhere
(`postgres`, else `nobody`), and everything that account reads must lie where it can go: root's home is closed to it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emsd.errors import ServerError

__all__ = [
    "Account",
    "Places",
    "find_places",
    "make_folder",
    "require_reachable",
    "run_as",
    "temporary_folder",
    "write_privately",
]

RUN_AS_ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged account of this machine."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Places:
    """The folder of the unpacked programs, and that of the servers' data."""

    cache: Path
    data: Path


def run_as() -> Account | None:
    """The account that the servers run as: None is the present user, who is not root.

    Raises:
        ServerError: this is root and no unprivileged account exists.
    """
    if os.geteuid() != 0:
        return None
    for name in RUN_AS_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise ServerError(
        f"PostgreSQL refuses to run as root and neither account {' nor '.join(RUN_AS_ACCOUNTS)} exists; "
        "start emsd as an ordinary user"
    )


def find_places(environment: Mapping[str, str] | None = None) -> Places:
    """The places by the table at the head of this module; nothing is created."""
    variables = os.environ if environment is None else environment
    if chosen := variables.get("EMSD_CACHE_DIR"):
        cache = Path(chosen).expanduser().absolute()
        data = cache / "data"
    elif os.geteuid() == 0:
        cache, data = Path("/var/cache/emsd"), Path("/var/lib/emsd")
    else:
        home = Path(variables.get("HOME") or Path.home())
        cache = Path(variables.get("XDG_CACHE_HOME") or home / ".cache") / "emsd"
        data = Path(variables.get("XDG_DATA_HOME") or home / ".local" / "share") / "emsd"
    if chosen := variables.get("EMSD_DATA_DIR"):
        data = Path(chosen).expanduser().absolute()
    return Places(cache=cache, data=data)


def make_folder(folder: Path, *, owner: Account | None = None, mode: int = 0o755) -> Path:
    """Create `folder` with its parents, give it to `owner`, and return it resolved.

    Raises:
        ServerError: it cannot be created, or `owner` could never enter it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(mode)
        if owner is not None:
            os.chown(folder, owner.uid, owner.gid)
    except OSError as error:
        raise ServerError(
            f"the folder {folder} cannot be made ready: {error.strerror}; choose another one with "
            "EMSD_CACHE_DIR or EMSD_DATA_DIR"
        ) from error
    if owner is not None:
        require_reachable(folder, owner)
    return folder


def require_reachable(folder: Path, account: Account) -> None:
    """Refuse a folder below one that `account` may not pass through.

    Raises:
        ServerError: names the folder that is closed.
    """
    for place in reversed((folder, *folder.parents)):
        found = place.stat()
        if found.st_uid == account.uid:
            passable = found.st_mode & 0o100
        elif found.st_gid == account.gid:
            passable = found.st_mode & 0o010
        else:
            passable = found.st_mode & 0o001
        if not passable:
            raise ServerError(
                f"the servers run as {account.name}, which cannot enter {place}; "
                "choose a folder open to that account with EMSD_CACHE_DIR or EMSD_DATA_DIR"
            )


@contextmanager
def temporary_folder(prefix: str = "emsd-", *, within: Path | None = None) -> Iterator[Path]:
    """A folder for servers that live as long as the block, reachable by the account they run as.

    It lies `within` a folder that this account can reach; absent: where temporary files go (TMPDIR).
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
    try:
        folder.chmod(0o755)
        yield folder.resolve()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_privately(path: Path, text: str, owner: Account | None = None) -> None:
    """Replace `path` by `text` in one step; only `owner` (and root) can read it."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    if owner is not None:
        os.chown(unfinished, owner.uid, owner.gid)
    unfinished.replace(path)
