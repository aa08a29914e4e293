"""A changed plant is taken up while the service runs: on SIGHUP, or when one of its files changes.

The new description is read and checked as a whole; one that is wrong is refused with its faults, and the plant as it
was goes on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import structlog

from emsd.errors import ConfigurationError, PlantError
from emsd.plant.diff import differences
from emsd.plant.loader import LoadedPlant, load_plant

__all__ = ["Reloader"]

_log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
"""How often the files are looked at; a file that is still being written is read one look after its last change."""

_Stamp = tuple[tuple[str, int, int], ...]


class Reloader:
    """Notices changes of a plant's files; `hurry` asks for a look at once, as SIGHUP does."""

    def __init__(self, loaded: LoadedPlant, *, look_every_s: float = LOOK_EVERY_S) -> None:
        self._loaded = loaded
        self._look_every_s = look_every_s
        self._asked = asyncio.Event()
        # Now, not when somebody begins to follow: a start may wait for hours for its database.
        self._seen = _stamp(loaded)

    def hurry(self) -> None:
        """Read the description again at once, whether it seems changed or not."""
        self._asked.set()

    async def plants(self) -> AsyncIterator[LoadedPlant]:
        """Yield each further description that is valid and differs from the one before, until cancelled."""
        while True:
            asked = await self._changed(self._seen)
            self._seen = await asyncio.to_thread(_stamp, self._loaded)
            found = await self._load()
            if found is None:
                continue
            changes = differences(self._loaded, found)
            if changes:
                for change in changes:
                    _log.info("plant_change", change=str(change))
                yield found
                # What the plant was is replaced only now: whoever takes the new one may refuse it.
            elif asked:
                _log.info("plant_unchanged", plant=str(found.path))

    def adopted(self, loaded: LoadedPlant) -> None:
        """Compare with this description from now on."""
        self._loaded = loaded

    async def _changed(self, seen: _Stamp) -> bool:
        """Return when files have changed and rest again, or a look was asked for; say which."""
        moved: _Stamp | None = None
        while not self._asked.is_set():
            try:
                async with asyncio.timeout(self._look_every_s):
                    await self._asked.wait()
            except TimeoutError:
                now = await asyncio.to_thread(_stamp, self._loaded)
                if now != seen and now == moved:
                    return False
                moved = now
        self._asked.clear()
        return True

    async def _load(self) -> LoadedPlant | None:
        try:
            return await asyncio.to_thread(load_plant, self._loaded.path, environ=os.environ)
        except PlantError as error:
            for fault in error.faults:
                _log.error("plant_refused", fault=str(fault))
            _log.error("plant_kept", reason=f"{len(error.faults)} faults in the new description", cure="mend them")
        except (ConfigurationError, OSError) as error:
            _log.error("plant_kept", reason=str(error), cure="mend the description; it is read again when it changes")
        return None


def _stamp(loaded: LoadedPlant) -> _Stamp:
    """Return name, time of change and size of every file that describes the plant."""
    return tuple(_stamps(loaded))


def _stamps(loaded: LoadedPlant) -> Iterator[tuple[str, int, int]]:
    for path in _files(loaded):
        try:
            status = path.stat()
        except OSError:
            yield str(path), 0, 0
        else:
            yield str(path), status.st_mtime_ns, status.st_size


def _files(loaded: LoadedPlant) -> Iterator[Path]:
    folder = loaded.path.parent
    yield loaded.path
    for name in loaded.plant.meters_csv:
        yield folder / name
    for name in loaded.plant.production.products_csv if loaded.plant.production else ():
        yield folder / name
    for tariff in loaded.plant.tariffs:
        for name in tariff.dynamic_prices_csv:
            yield folder / name
    for name in loaded.plant.profile_folders:
        profiles = folder / name
        yield profiles
        yield from sorted((*profiles.glob("*.yaml"), *profiles.glob("*.yml")))
