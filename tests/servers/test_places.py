"""Where things lie, and that the account the servers run as can get there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emsd.errors import ServerError
from emsd.servers import Account, find_places
from emsd.servers.places import require_reachable, write_privately


def test_one_variable_moves_everything_and_another_the_data_alone(tmp_path: Path) -> None:
    chosen = find_places({"EMSD_CACHE_DIR": str(tmp_path)})
    assert (chosen.cache, chosen.data) == (tmp_path, tmp_path / "data")
    apart = find_places({"EMSD_CACHE_DIR": str(tmp_path), "EMSD_DATA_DIR": str(tmp_path / "elsewhere")})
    assert (apart.cache, apart.data) == (tmp_path, tmp_path / "elsewhere")


def test_by_default_root_uses_var_and_anyone_else_their_home() -> None:
    places = find_places({"HOME": "/home/ada", "XDG_DATA_HOME": "/home/ada/data"})
    if os.geteuid() == 0:
        assert (places.cache, places.data) == (Path("/var/cache/emsd"), Path("/var/lib/emsd"))
    else:
        assert (places.cache, places.data) == (Path("/home/ada/.cache/emsd"), Path("/home/ada/data/emsd"))


def test_a_folder_below_a_closed_one_is_refused_by_its_name(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "data").mkdir(parents=True)
    closed.chmod(0o700)
    stranger = Account("stranger", uid=os.geteuid() + 4242, gid=os.getegid() + 4242)
    with pytest.raises(ServerError, match="stranger, which cannot enter"):
        require_reachable(closed / "data", stranger)
    require_reachable(closed / "data", Account("owner", uid=os.geteuid(), gid=os.getegid()))


def test_a_secret_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("old")
    secret.chmod(0o644)
    write_privately(secret, "new")
    assert secret.read_text() == "new"
    assert secret.stat().st_mode & 0o777 == 0o600
