"""The running service: what its processes do, how they start, follow a changing plant, and stop."""

from emsd.service.roles import Role, Shard
from emsd.service.running import Service, run_service

__all__ = ["Role", "Service", "Shard", "run_service"]
