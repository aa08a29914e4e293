from __future__ import annotations

import re
import textwrap
from pathlib import Path

from emsd.plant.profiles import read_profiles

PAGE = Path(__file__).parents[2] / "docs" / "profiles.md"


def test_the_profiles_shown_in_the_documentation_are_valid(tmp_path: Path) -> None:
    blocks = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n)+", PAGE.read_text(), re.MULTILINE)]
    shown = [block for block in blocks if block.strip().startswith("profile:")]
    for number, block in enumerate(shown):
        (tmp_path / f"{number}.yaml").write_text(block)
    library = read_profiles([tmp_path], installed=False)
    assert library.faults == []
    assert list(library.profiles) == ["acme_pm100", "acme_gateway_json"]
