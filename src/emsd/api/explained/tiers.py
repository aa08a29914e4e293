"""Whether the tiers say the same: local days the sums of their quarter hours, these the sums of their minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from emsd.api.explained.schemas import ExplainedDirection
from emsd.energy.series import BUCKET_15M_US, ceil_us, floor_us
from emsd.energy.windows import Tier, local_day_bounds
from emsd.readings import instant_us, to_datetime
from emsd.store.explain_tiers import TierDifference, read_day_differences, read_quarter_differences
from emsd.store.pool import Session
from emsd.store.retention import Horizons

__all__ = ["tier_differences", "with_tiers"]

_NAMES: Final[Mapping[Tier, tuple[str, str]]] = {
    "1d": ("local day", "quarter hours"),
    "15m": ("quarter hour", "minutes"),
}
_MOST_SAID: Final = 3


async def tier_differences(
    connection: Session, meter_id: int, span: tuple[datetime, datetime], horizons: Horizons, zone: ZoneInfo
) -> list[TierDifference]:
    """Return the days and quarter hours of a meter, wholly in a span [UTC], that are not the sums of what makes them.

    What lies before the horizon of the lower tier is not looked at: it was dropped, and the sum is all that is left.
    """
    from_, to = span
    days = []
    day = from_.astimezone(zone).date()
    while (bounds := local_day_bounds(day, zone))[1] <= to:
        if bounds[0] >= max(from_, horizons.quarters or from_):
            days.append(bounds)
        day += timedelta(days=1)
    begin = to_datetime(ceil_us(instant_us(max(from_, horizons.minutes or from_)), BUCKET_15M_US))
    end = to_datetime(floor_us(instant_us(to), BUCKET_15M_US))
    found = await read_day_differences(connection, meter_id, days)
    return found + await read_quarter_differences(connection, meter_id, begin, end)


def with_tiers(
    directions: Sequence[ExplainedDirection], differences: Sequence[TierDifference]
) -> list[ExplainedDirection]:
    """Return the directions, those that the tiers do not agree about with a remark that says so."""
    return [_with_tiers(each, differences) for each in directions]


def _with_tiers(each: ExplainedDirection, differences: Sequence[TierDifference]) -> ExplainedDirection:
    said = []
    for one in differences:
        more_kwh = one.import_kwh if each.direction == "import" else one.export_kwh
        if more_kwh:
            above, below = _NAMES[one.tier]
            begin = one.begin.astimezone(UTC).isoformat()
            amount = f"{abs(more_kwh):g} kWh {'more' if more_kwh > 0 else 'less'}"
            said.append(f"the {above} from {begin} holds {amount} than its {below}")
    if not said:
        return each
    rest = len(said) - _MOST_SAID
    remark = [each.remark] * bool(each.remark) + said[:_MOST_SAID] + [f"and {rest} more"] * (rest > 0)
    return each.model_copy(update={"agrees": False, "remark": "; ".join(remark)})
