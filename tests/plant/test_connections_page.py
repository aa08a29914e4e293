from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from ruamel.yaml import YAML

from emsd.plant.connections import Connection

PAGE = Path(__file__).parents[2] / "docs" / "connections.md"


def test_the_connections_shown_in_the_documentation_are_valid_and_there_is_one_of_every_kind() -> None:
    text = PAGE.read_text()
    blocks = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE)]
    shown: list[Any] = []
    for block in blocks:
        if block.strip().startswith("- key:"):
            shown += YAML(typ="safe").load(block)
    kinds = {TypeAdapter[Any](Connection).validate_python(entry).kind for entry in shown}
    listed = re.findall(r"^\| `((?:modbus|mqtt|sparkplug)\w*)` \|", text, re.MULTILINE)
    assert kinds == set(listed)
    assert len(listed) == 7
