"""The private copies: whole or not there, made once however many ask, recorded, and nothing of the system's touched."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from emsd.errors import ServerError, UnsupportedMachine
from emsd.servers import install, temporary_folder
from emsd.servers.packages import PrivateApt, Source, find_tools
from emsd.servers.process import free_port
from emsd.servers.unpack import read_manifest

# Prints each stage as it begins, then what came of it.
INSTALLER = """
import json, sys
from pathlib import Path
from emsd.servers import install

stages = []

def progress(what, share):
    if what not in stages:
        stages.append(what)
        print(what, flush=True)

done = install("mosquitto", cache=Path(sys.argv[1]), use_local=False, progress=progress)
print(json.dumps({"stages": stages, "root": done.mosquitto.manifest.root}), flush=True)
"""
SYSTEM_APT = (Path("/var/lib/apt/lists"), Path("/var/cache/apt"), Path("/var/lib/dpkg"))


@dataclass(frozen=True)
class History:
    """What happened in one cache: an attempt that was killed, then two at once."""

    root: Path
    whole_after_kill: bool
    leftovers_after_kill: list[str]
    downloads_after_kill: dict[str, int]
    outcomes: list[dict[str, object]]
    system_apt_before: dict[str, int]
    system_apt_after: dict[str, int]


def installer(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", INSTALLER, cache], stdout=subprocess.PIPE, text=True)


def system_apt() -> dict[str, int]:
    found = (path for folder in SYSTEM_APT for path in (folder, *folder.rglob("*")) if path.name != "lock")
    return {str(path): path.stat().st_mtime_ns for path in found}


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    with temporary_folder("emsd-install-") as cache:
        root = cache / "mosquitto.1"
        before = system_apt()
        with installer(cache) as killed:
            assert killed.stdout is not None
            for line in killed.stdout:
                if line.strip() == "check":  # everything is unpacked, nothing is checked
                    killed.send_signal(signal.SIGKILL)
                    break
        assert killed.returncode == -signal.SIGKILL
        whole = root.exists()
        leftovers = [path.name for path in cache.glob(".mosquitto.1.*")]
        downloads = {path.name: path.stat().st_ino for path in (cache / "apt" / "downloads").glob("*.deb")}

        racers = [installer(cache), installer(cache)]
        outcomes = []
        for racer in racers:
            said, _ = racer.communicate(timeout=200)
            assert racer.returncode == 0
            outcomes.append(json.loads(said.splitlines()[-1]))
        yield History(root, whole, leftovers, downloads, outcomes, before, system_apt())


def test_an_interrupted_unpacking_is_never_taken_for_whole(history: History) -> None:
    assert history.leftovers_after_kill, "the attempt was killed before it began to unpack"
    assert not history.whole_after_kill


def test_what_an_interrupted_attempt_left_behind_is_cleared_away(history: History) -> None:
    assert list(history.root.parent.glob(".mosquitto.1.*")) == []
    assert not (history.root.parent / "apt").exists()


def test_an_interrupted_attempt_leaves_its_downloads_for_the_next(history: History) -> None:
    manifest = read_manifest(history.root)
    assert manifest is not None
    assert set(manifest.archives) == set(history.downloads_after_kill)


def test_of_two_processes_that_race_one_installs_and_both_get_the_copy(history: History) -> None:
    assert [outcome["root"] for outcome in history.outcomes] == [str(history.root)] * 2
    stages = [outcome["stages"] for outcome in history.outcomes]
    assert sum("unpack" in stage for stage in stages if isinstance(stage, list)) == 1


def test_the_systems_own_apt_state_is_untouched(history: History) -> None:
    assert history.system_apt_after == history.system_apt_before


def test_the_manifest_records_every_file_by_its_sha256(history: History) -> None:
    manifest = read_manifest(history.root)
    assert manifest is not None
    here = {path for path in history.root.rglob("*") if path.is_file() and not path.is_symlink()}
    found = {str(path.relative_to(history.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in here}
    del found["manifest.json"]
    assert found == {path: digest for path, (_, digest) in manifest.files.items()}
    assert manifest.packages["mosquitto"].startswith("2.")


def test_installing_again_is_a_no_op(history: History) -> None:
    stages: list[str] = []
    before = history.root.stat()
    cache = history.root.parent
    again = install("mosquitto", cache=cache, use_local=False, progress=lambda what, _: stages.append(what))
    assert again.timescaledb is None
    assert again.mosquitto is not None
    assert again.faults() == []
    assert stages == []
    assert history.root.stat() == before


def test_a_changed_file_is_named(history: History) -> None:
    installation = install("mosquitto", cache=history.root.parent, use_local=False)
    assert installation.mosquitto is not None
    victim = installation.mosquitto.passwd
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        assert installation.faults() == [f"{victim}: SHA-256 is not the recorded one"]
    finally:
        victim.write_bytes(content)


@pytest.mark.parametrize("damage", ["truncated", "deleted", "link deleted"])
def test_a_copy_with_a_damaged_file_is_not_taken_for_whole(history: History, damage: str) -> None:
    manifest = read_manifest(history.root)
    assert manifest is not None
    if damage == "link deleted":
        link, target = next(iter(manifest.links.items()))
        (history.root / link).unlink()
        assert read_manifest(history.root) is None
        (history.root / link).symlink_to(target)
    else:
        victim = history.root / "usr/sbin/mosquitto"
        aside = victim.rename(history.root.parent / "aside")
        if damage == "truncated":
            victim.write_bytes(b"")
        assert read_manifest(history.root) is None
        aside.replace(victim)
    assert read_manifest(history.root) == manifest


def test_a_copy_that_was_moved_is_not_taken_for_whole(history: History, tmp_path: Path) -> None:
    moved = tmp_path / "mosquitto.1"
    history.root.rename(moved)
    try:
        assert read_manifest(moved) is None
    finally:
        moved.rename(history.root)


def test_a_machine_without_apt_is_told_in_one_sentence_what_to_use_instead(tmp_path: Path) -> None:
    nothing = tmp_path / "bin"
    nothing.mkdir()
    with pytest.raises(UnsupportedMachine) as caught:
        install(cache=tmp_path / "cache", search_path=str(nothing), use_local=False)
    message = str(caught.value)
    assert "docker compose up" in message
    assert "EMSD_DATABASE_URL" in message
    assert "\n" not in message
    assert not (tmp_path / "cache").exists()


def test_a_mirror_that_cannot_be_reached_is_named_with_the_cure() -> None:
    mirror = f"http://127.0.0.1:{free_port()}/debian"
    with temporary_folder("emsd-mirror-") as folder:
        apt = PrivateApt(folder / "apt", find_tools())
        with pytest.raises(ServerError, match="check the network") as caught:
            apt.use(Source(mirror, "trixie", ("main",), None), lambda _what, _share: None)
    assert mirror in str(caught.value)
