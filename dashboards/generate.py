"""Write the dashboards' JSON, or with --check say whether it is stale.

python -m dashboards.generate          writes json/*.json
python -m dashboards.generate --check  writes nothing; exits 1 and names the files that are stale
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from . import (
    alarms,
    balance,
    carbon,
    carbon_ledger,
    chillers,
    cleanroom,
    collection,
    compressors,
    demand,
    kpi,
    overview,
    product_footprint,
    pv,
    tariff,
)

__all__ = ["FOLDER", "generated", "main", "stale"]

FOLDER: Final = Path(__file__).resolve().parent / "json"
_BUILDERS: Final = (
    overview.build,
    cleanroom.build,
    compressors.build,
    chillers.build,
    pv.build,
    kpi.build,
    balance.build,
    demand.build,
    tariff.build,
    carbon.build,
    carbon_ledger.build,
    product_footprint.build,
    alarms.build,
    collection.build,
)


def generated() -> Mapping[str, str]:
    """Return file name -> text of every dashboard."""
    files: dict[str, str] = {}
    for build in _BUILDERS:
        board = build().build()
        text = json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        files[f"{board.uid}.json"] = text + "\n"
    return files


def stale(folder: Path = FOLDER) -> list[str]:
    """Return the names of files that are missing, differ, or belong to no dashboard any more."""
    wanted = generated()
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.generate", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    checked: bool = parser.parse_args(arguments).check
    names = stale()
    if checked:
        for name in names:
            sys.stderr.write(f"dashboards/json/{name} is stale; run `make dashboards`\n")
        return 1 if names else 0
    wanted = generated()
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        path = FOLDER / name
        if name in wanted:
            path.write_text(wanted[name], encoding="utf-8")
        else:
            path.unlink()
        sys.stdout.write(f"{'wrote' if name in wanted else 'removed'} dashboards/json/{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
