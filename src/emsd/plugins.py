"""What other packages add to emsd through entry points."""

from __future__ import annotations

from importlib.metadata import entry_points

from emsd.collector import CollectorFactory
from emsd.errors import ConfigurationError

__all__ = ["collector_factory"]

_GROUP = "emsd.collectors"


def collector_factory(kind: str) -> CollectorFactory:
    """Return the collector factory that serves connections of this kind.

    Raises:
        ConfigurationError: no installed package offers the kind.
    """
    offered = {point.name: point for point in entry_points(group=_GROUP)}
    if kind not in offered:
        known = ", ".join(sorted(offered)) or "none"
        raise ConfigurationError(
            f"no collector serves connections of kind {kind!r}; installed are: {known}; "
            f"install a package with an entry point {kind!r} in the group {_GROUP}"
        )
    factory: CollectorFactory = offered[kind].load()
    return factory
