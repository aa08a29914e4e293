"""Files that travel with the code but are not code: migrations and dashboards.

In an installed wheel they lie inside the package, in a checkout beside `src`; callers need not care.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["folder"]

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent.parent


def folder(name: str) -> Path:
    """Return the folder `name` ("migrations" or "dashboards").

    Raises:
        FileNotFoundError: neither the package nor the checkout has it; the installation is incomplete.
    """
    for candidate in (_PACKAGE / name, _CHECKOUT / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"emsd was installed without its {name} folder; install it again from a release")
