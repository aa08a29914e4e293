"""The HTTP API: one router a resource under /api/v1, problem objects for every error.

create_app(ApiDependencies(pool=..., site_id=1, registry=..., live=...)) -> FastAPI
"""

from emsd.api.app import create_app
from emsd.api.dependencies import ApiDependencies, ReadinessProbe

__all__ = ["ApiDependencies", "ReadinessProbe", "create_app"]
