"""The page says of every kind of scenario what the code says."""

from __future__ import annotations

from pathlib import Path

from simulator.physics.scenarios import KINDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scenarios.md"


def test_the_page_lists_every_kind_with_its_assets_and_limits() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.read_text().splitlines()]
    listed = {
        row[0].strip("`"): (row[1], row[3], row[4]) for row in rows if len(row) == 5 and row[0].strip("`") in set(KINDS)
    }
    assert listed == {
        kind.value: (
            ", ".join(each.value for each in traits.asset_kinds) or "the site",
            f"{traits.least:g}..{traits.most:g}",
            traits.summary,
        )
        for kind, traits in KINDS.items()
    }
