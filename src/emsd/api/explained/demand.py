"""Demand explained: which settlement period was the highest, what each meter drew in it, and by which readings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from emsd.api.dependencies import Configuration
from emsd.api.explained.energy import meter_part
from emsd.api.explained.form import Explanation, Part, Rule, Source, added, energy_path, judged, same_figure, times
from emsd.api.explained.scopes import explain_energy
from emsd.energy.demand import TRUSTED_COVERAGE
from emsd.energy.demand_forecast import block_begin_us
from emsd.energy.demand_series import DemandSeries
from emsd.energy.series import BUCKET_1M_US, US_PER_HOUR, FloatArray
from emsd.errors import SettingsError
from emsd.readings import instant_us, to_datetime
from emsd.store.contract_demand import read_contract_demands, read_period_min
from emsd.store.cost import contract_at
from emsd.store.demand import read_demand_blocks, read_demand_sliding
from emsd.store.plant_view import PlantView
from emsd.store.pool import Pool
from emsd.store.reads import snapshot
from emsd.store.scopes import ScopeKind, meters_of_scope

__all__ = ["explain_demand"]

_MOST_FROM_READINGS: Final = 20
"""Meters whose readings are looked at; of further ones what the intervals hold."""
_NEXT: Final = 4


async def explain_demand(
    pool: Pool,
    configuration: Configuration,
    scope: ScopeKind,
    key: str | None,
    from_: datetime,
    to: datetime,
    *,
    sliding: bool = False,
) -> Explanation:
    """Return the highest demand of a scope in [from_, to), whose bounds are those of settlement periods.

    sliding  of the windows that begin at any minute, instead of the settlement periods

    Raises:
        SettingsError: a bound is not where a settlement period begins.
        StoreUnavailable: the database cannot be reached now.
    """
    plant = configuration.plant
    from_, to = from_.astimezone(UTC), to.astimezone(UTC)
    bounds_us = instant_us(from_), instant_us(to)
    meters = meters_of_scope(plant, scope, key)
    meter_ids, resting = meters.top, meters.resting
    async with snapshot(pool, "explain the demand") as connection:
        period_min = await read_period_min(connection, plant.site.site_id)
        _require_blocks(plant, bounds_us, period_min)
        contracts = await read_contract_demands(connection, plant.site.site_id) if scope == "site" else []
        read = read_demand_sliding if sliding else read_demand_blocks
        demand = await read(connection, meter_ids, *bounds_us, period_min=period_min, resting=resting)
        peak = demand.highest(*bounds_us)
        span_us = (0, 0) if peak is None else (peak.from_us, peak.from_us + period_min * BUCKET_1M_US)
        alone = (
            {}
            if peak is None
            else {each: await read(connection, [each], *span_us, period_min=period_min) for each in meter_ids}
        )
    parts = [
        await _meter(
            pool, configuration, plant.meters[meter_id].key, _first(series.demand_kw), span_us,
            from_readings=place < _MOST_FROM_READINGS,
        )
        for place, (meter_id, series) in enumerate(alone.items())
    ]  # fmt: skip
    contract_kw = contract_at(contracts, from_)
    agrees, remark = judged(None if peak is None else peak.demand_kw, added(parts), "kW", _reasons(demand, parts))
    return Explanation(
        kind="demand",
        of=f"highest demand of {scope.replace('_', ' ')} {key or ''}".rstrip(),
        field=f"/api/v1/demand rows.{'sliding' if sliding else 'block'}.demand_kw",
        from_=from_,
        to=to,
        time_zone=plant.site.time_zone,
        figure=None if peak is None else peak.demand_kw,
        unit="kW",
        recomputed=added(parts),
        agrees=agrees,
        remark=remark,
        parts=parts + ([] if sliding else _next(demand, period_min)),
        rules=_rules(period_min, contract_kw, sliding=sliding),
        sources=[
            Source(kind="meter", name=plant.meters[each].key, explain=energy_path(plant.meters[each].key, *span_us))
            for each in alone
        ],
    )


def _require_blocks(plant: PlantView, bounds_us: tuple[int, int], period_min: int) -> None:
    for bound_us in bounds_us:
        if block_begin_us(bound_us, period_min * BUCKET_1M_US, plant.zone) != bound_us:
            shown = to_datetime(bound_us).astimezone(plant.zone).isoformat()
            raise SettingsError(f"no settlement period of {period_min} min begins at {shown}; write a full multiple")


async def _meter(
    pool: Pool,
    configuration: Configuration,
    key: str,
    demand_kw: float | None,
    span_us: tuple[int, int],
    *,
    from_readings: bool,
) -> Part:
    """Return what one meter alone drew in the period, beside what its readings say."""
    from_, to = to_datetime(span_us[0]), to_datetime(span_us[1])
    hours = (span_us[1] - span_us[0]) / US_PER_HOUR
    kwh = None if demand_kw is None else demand_kw * hours
    parts, remark = [], "" if kwh is not None else "nothing is known of it; it counts as if it drew nothing"
    if from_readings:
        explained = await explain_energy(pool, configuration, "meter", key, from_, to)
        for meter in explained.meters:
            for direction in meter.directions:
                if (
                    direction.direction == "import"
                    and "top" in meter.roles
                    and not same_figure(direction.figure_kwh, kwh)
                ):
                    remark = f"its readings make {direction.figure_kwh} kWh: {direction.remark}"
            parts.append(meter_part(meter, from_, to).model_copy(update={"sign": ""}))
    return Part(
        what=f"meter {key}",
        figure=demand_kw,
        unit="kW",
        how=f"{times((kwh, 'kWh'))} / {hours:g} h",
        from_=from_,
        to=to,
        facts={"import_kwh": kwh},
        remark=remark,
        explain=energy_path(key, *span_us),
        parts=parts,
    )


def _first(demand_kw: FloatArray) -> float | None:
    return float(demand_kw[0]) if demand_kw.size and np.isfinite(demand_kw[0]) else None


def _next(demand: DemandSeries, period_min: int) -> list[Part]:
    """Return the periods that come after the highest one, in order of demand."""
    trusted = demand.trusted_kw
    places = np.flatnonzero(np.isfinite(trusted))
    ordered = places[np.argsort(-trusted[places], kind="stable")][1 : _NEXT + 1]
    return [
        Part(
            what=f"{number}. highest",
            figure=float(trusted[place]),
            unit="kW",
            sign="",
            from_=to_datetime(int(demand.begin_us[place])),
            to=to_datetime(int(demand.begin_us[place]) + period_min * BUCKET_1M_US),
        )
        for number, place in enumerate(ordered.tolist(), start=2)
    ]


def _reasons(demand: DemandSeries, parts: Sequence[Part]) -> list[str]:
    untrusted = int((demand.coverage < TRUSTED_COVERAGE).sum())
    reasons = []
    if untrusted:
        least = f"{100 * TRUSTED_COVERAGE:g} %"
        reasons.append(
            f"{untrusted} of {demand.begin_us.size} periods are not {least} measured and cannot be the highest"
        )
    return reasons + [f"{each.what}: {each.remark}" for each in parts if each.remark]


def _rules(period_min: int, contract_kw: float | None, *, sliding: bool) -> list[Rule]:
    period = f"windows of {period_min} min that begin at any minute" if sliding else f"periods of {period_min} min"
    rules = [
        Rule(name="demand", rule=f"mean power drawn over {period}; of several meters that of their sum; import only"),
        Rule(name="trust", rule=f"a period counts when every meter is measured {100 * TRUSTED_COVERAGE:g} % of it",
             source="OpenDSM, sufficiency of period totals"),
    ]  # fmt: skip
    if contract_kw is not None:
        rules.append(Rule(name="contract", rule=f"{contract_kw:g} kW are agreed when this time begins"))
    return rules
