"""How a site's carbon ledger is made: a mirror of the plant's section carbon."""

from __future__ import annotations

from typing import Final

from emsd.plant.carbon import CarbonLedger
from emsd.store.pool import Session

__all__ = ["read_carbon_settings", "write_carbon_settings"]

_WRITE: Final = """
INSERT INTO carbon_settings (site_id, gwp_set, matching, residual_region) VALUES ($1, $2, $3, $4)
ON CONFLICT (site_id) DO UPDATE SET gwp_set = excluded.gwp_set, matching = excluded.matching,
    residual_region = excluded.residual_region"""
_READ: Final = "SELECT gwp_set, matching, residual_region FROM carbon_settings WHERE site_id = $1"


async def write_carbon_settings(connection: Session, site_id: int, rules: CarbonLedger) -> None:
    """Mirror the plant's section carbon, in the caller's transaction; the errors are asyncpg's."""
    await connection.execute(_WRITE, site_id, rules.gwp_set, rules.matching, rules.residual_region)


async def read_carbon_settings(connection: Session, site_id: int) -> CarbonLedger:
    """Return the rules of a site's ledger; the defaults where none were written yet."""
    row = await connection.fetchrow(_READ, site_id)
    return CarbonLedger() if row is None else CarbonLedger(**dict(row))
