"""The spool's files: what they keep over any kill or damage, what they drop, and that every loss is known exactly."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emsd.collector import Poison
from emsd.errors import SpoolInUse, SpoolUnavailable
from emsd.ingest.spool_codec import decode
from emsd.ingest.spool_folder import DAMAGED, SPOOL_FULL, SpoolFolder
from emsd.readings import Columns, Reading, columns
from emsd.store.loss import Loss
from emsd.store.spool_backlog import salvage

NOON = 1_774_785_600_000_000
NAMES = columns("active_power_kw", "energy_import_kwh", "frequency_hz")
MEGABYTE = 1024 * 1024
POISON = Poison("mqtt://broker/topic", b"{", "not JSON", NOON, 1)


def batch(number: int, size: int = 100) -> list[Reading]:
    noise = random.Random(number)
    return [
        Reading(
            NOON + number * 1_000_000 + place,
            1 + place % 3,
            NAMES,
            (noise.random(), None if place % 7 == 0 else noise.random(), noise.random()),
            place % 5,
        )
        for place in range(size)
    ]


def opened(folder: Path, *, max_bytes: int = 64 * MEGABYTE, min_free_bytes: int = 0) -> SpoolFolder:
    spool = SpoolFolder(folder, max_bytes=max_bytes, min_free_bytes=min_free_bytes, now_us=lambda: NOON)
    spool.open()
    return spool


@contextmanager
def spool_in(folder: Path, *, max_bytes: int = 64 * MEGABYTE) -> Iterator[SpoolFolder]:
    spool = opened(folder, max_bytes=max_bytes)
    try:
        yield spool
    finally:
        spool.close()


def drained(spool: SpoolFolder) -> list[Reading]:
    readings: list[Reading] = []
    while (taken := spool.take(1)).batch_ids:
        readings += taken.readings
        spool.forget(taken.batch_ids)
    return readings


def expected_losses(readings: list[Reading], reason: str) -> set[Loss]:
    times: dict[int, list[int]] = {}
    for reading in readings:
        times.setdefault(reading.meter_id, []).append(reading.time_us)
    return {Loss(meter, len(own), min(own), max(own), reason) for meter, own in times.items()}


def killed_with(folder: Path, batches: int, size: int = 100) -> list[list[Reading]]:
    """Fill a spool in a process that is killed, so that nothing of it was closed."""
    code = (
        f"import os, signal, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\n"
        "import test_spool_folder as here\n"
        f"spool = here.opened(Path({str(folder)!r}))\n"
        f"for number in range({batches}): spool.save(here.batch(number, {size}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    return [batch(number, size) for number in range(batches)]


def left_open(folder: Path, batches: int, size: int = 100) -> list[list[Reading]]:
    """Leave the files as a kill would: with their logs, never closed."""
    elsewhere = folder / "elsewhere"
    with spool_in(elsewhere) as spool:
        for number in range(batches):
            spool.save(batch(number, size))
        for path in elsewhere.iterdir():
            shutil.copy(path, folder / path.name)
    shutil.rmtree(elsewhere)
    return [batch(number, size) for number in range(batches)]


def test_what_was_saved_comes_back_in_order_after_a_kill(tmp_path: Path) -> None:
    batches = killed_with(tmp_path, 5)
    with spool_in(tmp_path) as spool:
        totals = spool.totals()
        assert (totals.readings, totals.batches, totals.recovered, totals.lost) == (500, 5, 500, 0)
        assert drained(spool) == [reading for each in batches for reading in each]
        assert spool.totals().readings == spool.totals().batches == 0
    with spool_in(tmp_path) as spool:
        assert spool.totals().recovered == 0
        assert spool.totals().losses == ()


def test_what_was_taken_but_not_forgotten_is_taken_again(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        spool.save(batch(0))
        spool.save(batch(1))
        first = spool.take(1)
        assert first.readings == batch(0)
        assert spool.take(1).readings == batch(1)
        assert spool.take(1).batch_ids == []
        spool.give_back(first.batch_ids)
        assert spool.take(1).batch_ids == first.batch_ids
    with spool_in(tmp_path) as spool:
        assert drained(spool) == batch(0) + batch(1)


def test_the_newest_batch_can_be_taken_before_the_others(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        for number in range(3):
            spool.save(batch(number))
        assert spool.take(1, newest=True).readings == batch(2)
        assert spool.take(150).readings == batch(0) + batch(1)


def test_poisons_and_malformed_readings_are_kept_for_the_quarantine(tmp_path: Path) -> None:
    malformed = Reading(NOON, 1, NAMES, (1.0,))
    foreign = Reading(NOON, 1, Columns(("of_a_later_version",)), (1.0,))
    with spool_in(tmp_path) as spool:
        spool.save_poisons([POISON])
        saved = spool.save([*batch(0, 2), malformed, foreign])
        assert (saved.readings, saved.malformed) == (3, 1)
        taken = spool.take(100)
    assert taken.readings == batch(0, 2)
    assert taken.poisons[0] == POISON
    assert [poison.meter_id for poison in taken.poisons] == [1, 1]
    assert [poison.reason for poison in taken.unknown] == ["this version does not know the quantity of_a_later_version"]


def test_at_the_bound_the_oldest_go_first_and_are_known_by_meter_and_time(tmp_path: Path) -> None:
    bound = MEGABYTE
    batches = [batch(number, 1000) for number in range(100)]
    with spool_in(tmp_path, max_bytes=bound) as spool:
        for each in batches:
            spool.save(each)
            assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= bound
        totals = spool.totals()
        kept = totals.batches
        assert 10 < kept < 90
        assert totals.lost == totals.dropped == sum(len(each) for each in batches[:-kept])
        dropped = [reading for each in batches[:-kept] for reading in each]
        assert set(totals.losses) == expected_losses(dropped, SPOOL_FULL)
    with spool_in(tmp_path, max_bytes=bound) as spool:
        assert set(spool.totals().losses) == expected_losses(dropped, SPOOL_FULL), "losses survive"
        assert drained(spool) == [reading for each in batches[-kept:] for reading in each]


def test_a_batch_on_its_way_to_the_database_is_never_dropped(tmp_path: Path) -> None:
    with spool_in(tmp_path, max_bytes=MEGABYTE) as spool:
        spool.save(batch(0, 1000))
        taken = spool.take(1)
        for number in range(1, 60):
            spool.save(batch(number, 1000))
        assert spool.totals().dropped > 0
        spool.give_back(taken.batch_ids)
        assert spool.take(1).readings == batch(0, 1000)


def test_a_batch_larger_than_the_bound_is_refused_and_drops_nothing(tmp_path: Path) -> None:
    with spool_in(tmp_path, max_bytes=MEGABYTE) as spool:
        spool.save(batch(0, 1000))
        with pytest.raises(SpoolUnavailable, match="no room"):
            spool.save(batch(1, 100_000))
        assert spool.totals().lost == 0
        assert drained(spool) == batch(0, 1000)


def test_above_the_least_free_space_nothing_grows_and_what_was_freed_is_used_again(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        for number in range(20):
            spool.save(batch(number, 1000))
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    spool = opened(tmp_path, min_free_bytes=2**60)
    try:
        for number in range(20, 40):
            spool.save(batch(number, 1000))
        totals = spool.totals()
        assert totals.dropped > 0
        left = drained(spool)
    finally:
        spool.close()
    everything = [reading for number in range(40) for reading in batch(number, 1000)]
    assert left == everything[-len(left) :]
    assert len(left) + totals.dropped == len(everything)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < size + 600_000, "no more than the logs"


def test_the_disk_space_is_given_back_when_all_is_drained(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        one = batch(0, 40_000)
        for _ in range(14):
            spool.save(one)
        assert spool.totals().bytes_on_disk > 8 * MEGABYTE
        while (taken := spool.take(1)).batch_ids:
            spool.forget(taken.batch_ids)
        assert spool.totals().bytes_on_disk < 5 * MEGABYTE


def test_two_processes_never_share_a_spool(tmp_path: Path) -> None:
    with spool_in(tmp_path), pytest.raises(SpoolInUse, match="EMSD_SPOOL_FOLDER"):
        opened(tmp_path)
    with spool_in(tmp_path) as spool:
        spool.save(batch(0))


def zero_header(content: bytearray) -> None:
    content[:100] = bytes(100)


def zero_first_page(content: bytearray) -> None:
    content[:4096] = bytes(4096)


def cut_in_half(content: bytearray) -> None:
    del content[len(content) // 2 :]


def empty(content: bytearray) -> None:
    content.clear()


def noise(content: bytearray) -> None:
    content[:] = random.Random(1).randbytes(len(content))


def overwrite(share: float) -> Callable[[bytearray], None]:
    def damage(content: bytearray) -> None:
        begin = int(len(content) * share)
        content[begin : begin + 10_000] = b"\xa5" * len(content[begin : begin + 10_000])

    damage.__name__ = f"overwrite_at_{share}"
    return damage


DAMAGES = [zero_header, zero_first_page, cut_in_half, empty, noise, *(overwrite(place / 5) for place in range(5))]


@pytest.mark.parametrize("name", ["spool.sqlite", "spool.sqlite-wal"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_of_a_damaged_backlog_every_whole_batch_is_kept_and_the_rest_is_known_exactly(
    tmp_path: Path, damage: Callable[[bytearray], None], name: str
) -> None:
    if name == "spool.sqlite":
        with spool_in(tmp_path) as filled:
            batches = [batch(number, 500) for number in range(12)]
            for each in batches:
                filled.save(each)
    else:
        batches = left_open(tmp_path, 12, 500)
    file = tmp_path / name
    content = bytearray(file.read_bytes())
    damage(content)
    file.write_bytes(content)
    with spool_in(tmp_path) as spool:
        left = drained(spool)
        totals = spool.totals()
        assert totals.recovered == 6_000
        assert totals.lost == 6_000 - len(left)
        kept = {reading.time_us // 1_000_000 for reading in left}
        gone = [reading for each in batches for reading in each if reading.time_us // 1_000_000 not in kept]
        assert left == [reading for each in batches for reading in each if reading.time_us // 1_000_000 in kept]
        assert set(totals.losses) == expected_losses(gone, DAMAGED)
        if damage in {zero_header, zero_first_page} and name == "spool.sqlite":
            assert totals.lost == 0, "batches do not need the header"
        if damage.__name__.startswith("overwrite") and name == "spool.sqlite":
            assert 0 <= totals.lost <= 6_000 // 2, "what is not overwritten is kept"
        spool.save(batch(99))
        assert drained(spool) == batch(99)
    with spool_in(tmp_path) as spool:
        assert spool.totals().readings == 0
        assert set(spool.totals().losses) == expected_losses(gone, DAMAGED)


def test_a_damaged_backlog_is_set_aside_under_a_name_with_the_time(tmp_path: Path) -> None:
    left_open(tmp_path, 2)
    file = tmp_path / "spool.sqlite"
    file.write_bytes(b"\x00" * 50_000)
    (tmp_path / "spool.sqlite-wal").unlink()
    with spool_in(tmp_path) as spool:
        assert spool.totals().lost == 200
    aside = [path.name for path in tmp_path.iterdir() if "corrupt" in path.name]
    assert aside == ["spool.sqlite.corrupt-20260329T120000Z"]


def test_batches_that_stand_only_in_the_log_are_salvaged_from_it(tmp_path: Path) -> None:
    batches = left_open(tmp_path, 3)
    assert (tmp_path / "spool.sqlite-wal").stat().st_size > 0
    (tmp_path / "spool.sqlite").write_bytes(b"")
    found = {row.batch_id: decode(row.payload)[0] for row in salvage(tmp_path / "spool.sqlite")}
    assert [found[batch_id] for batch_id in sorted(found)] == batches


def test_files_set_aside_count_for_the_bound_and_go_before_any_batch(tmp_path: Path) -> None:
    (tmp_path / "spool.sqlite.corrupt-20260329T110000Z").write_bytes(bytes(900_000))
    with spool_in(tmp_path, max_bytes=MEGABYTE) as spool:
        for number in range(10):
            spool.save(batch(number, 1000))
        assert spool.totals().lost == 0
        assert not [path for path in tmp_path.iterdir() if "corrupt" in path.name]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_manifest_is_made_anew_from_the_backlog(tmp_path: Path, damage: Callable[[bytearray], None]) -> None:
    with spool_in(tmp_path) as filled:
        batches = [batch(number, 500) for number in range(12)]
        for each in batches:
            filled.save(each)
    file = tmp_path / "manifest.sqlite"
    content = bytearray(file.read_bytes())
    damage(content)
    file.write_bytes(content)
    with spool_in(tmp_path) as spool:
        assert (spool.totals().recovered, spool.totals().lost) == (6_000, 0)
    # The new one is as good as the old one: it knows what is in a backlog that is gone.
    (tmp_path / "spool.sqlite").unlink()
    with spool_in(tmp_path) as spool:
        assert set(spool.totals().losses) == expected_losses([each for some in batches for each in some], DAMAGED)


def test_with_both_files_damaged_whole_batches_are_kept_and_it_starts(tmp_path: Path) -> None:
    with spool_in(tmp_path) as filled:
        for number in range(12):
            filled.save(batch(number, 500))
    for name, damage in (("manifest.sqlite", noise), ("spool.sqlite", zero_first_page)):
        content = bytearray((tmp_path / name).read_bytes())
        damage(content)
        (tmp_path / name).write_bytes(content)
    with spool_in(tmp_path) as spool:
        assert drained(spool) == [reading for number in range(12) for reading in batch(number, 500)]


def test_a_batch_whose_bytes_changed_is_lost_alone(tmp_path: Path) -> None:
    with spool_in(tmp_path) as filled:
        for number in range(5):
            filled.save(batch(number, 5000))
    file = tmp_path / "spool.sqlite"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with spool_in(tmp_path) as spool:
        left = drained(spool)
        assert (len(left), spool.totals().lost) == (20_000, 5000)
        assert sum(loss.readings for loss in spool.totals().losses) == 5000


def test_a_file_in_place_of_the_folder_is_said_and_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "spool"
    place.write_text("")
    spool = SpoolFolder(place, max_bytes=MEGABYTE, min_free_bytes=0, now_us=lambda: NOON)
    with pytest.raises(SpoolUnavailable, match="spool"):
        spool.save(batch(0))
    place.unlink()
    spool.save(batch(0))
    assert drained(spool) == batch(0)
    spool.close()


def test_a_folder_that_is_taken_away_is_made_again_and_the_loss_is_counted(tmp_path: Path) -> None:
    place = tmp_path / "spool"
    spool = opened(place)
    spool.save(batch(0))
    place.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "spool.sqlite").write_bytes(b"nonsense")
    spool.close()
    spool.save(batch(1))
    assert (spool.totals().readings, spool.totals().lost) == (100, 100)
    assert drained(spool) == batch(1)
    spool.close()


def test_losses_are_written_once_and_new_ones_wait_their_turn(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        spool.add_losses([Loss(1, 2, 10, 20, "full")])
        spool.add_losses([Loss(1, 3, 5, 15, "full"), Loss(2, 1, 1, 1, "full")])
        assert set(spool.totals().losses) == {Loss(1, 5, 5, 20, "full"), Loss(2, 1, 1, 1, "full")}
        closed, recorded_us = spool.close_losses(NOON)
    with spool_in(tmp_path) as spool:
        spool.add_losses([Loss(1, 1, 30, 30, "full")])
        assert spool.close_losses(NOON + 5) == (closed, recorded_us), "the same until it is written"
        spool.losses_written(recorded_us)
        assert spool.totals().losses == (Loss(1, 1, 30, 30, "full"),)


def test_numbers_of_meters_and_notes_are_remembered(tmp_path: Path) -> None:
    with spool_in(tmp_path) as spool:
        spool.remember_meters(1, {"a": 1_000_001, "b": 1_000_002})
        spool.remember_meters(2, {"a": 2_000_001})
        spool.remember_meters(1, {"b": 1_000_002, "c": 1_000_003})
        spool.set_note("k", "v")
        spool.set_note("k", "w")
    with spool_in(tmp_path) as spool:
        assert spool.known_meters(1) == {"b": 1_000_002, "c": 1_000_003}
        assert spool.known_meters(2) == {"a": 2_000_001}
        assert spool.known_meters(3) == {}
        assert (spool.note("k"), spool.note("l")) == ("w", None)


DISK_FULL = """
import resource, sys
sys.path.insert(0, {here!r})
from pathlib import Path
import test_spool_folder as here
from emsd.errors import SpoolUnavailable
spool = here.opened(Path({folder!r}))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
saved, refused = [], 0
for number in range(60):
    try:
        spool.save(here.batch(number, 1000))
        saved.append(number)
    except SpoolUnavailable as error:
        refused += 1
        text = str(error)
assert refused > 10, refused
assert "free space" in text, text
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
spool.save(here.batch(100, 1000))
saved.append(100)
totals = spool.totals()
assert totals.readings == 1000 * len(saved), totals
print(*saved)
import os, signal
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_full_disk_refuses_and_recovers_and_keeps_exactly_what_it_promised(tmp_path: Path) -> None:
    code = DISK_FULL.format(here=str(Path(__file__).parent), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    saved = [int(word) for word in done.stdout.splitlines()[-1].split()]
    with spool_in(tmp_path) as spool:
        assert drained(spool) == [reading for number in saved for reading in batch(number, 1000)]
        assert spool.totals().lost == 0
