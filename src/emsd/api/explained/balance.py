"""The residual of a bus explained: what it counted, what each meter below it counted, and what that leaves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np

from emsd.api.dependencies import Configuration
from emsd.api.explained.form import Explanation, Part, Rule, Source, added, energy_path, judged
from emsd.energy.balance import BalanceTotal, BusEnergy, balance, joined_total, total
from emsd.energy.series import BoolArray, FloatArray
from emsd.readings import instant_us
from emsd.store.balance import portions, read_balance_energy, stretches
from emsd.store.plant_view import MeterRow
from emsd.store.pool import Pool
from emsd.store.reads import snapshot

__all__ = ["explain_balance"]

_ROUNDING: Final = 1e-9


async def explain_balance(
    pool: Pool, configuration: Configuration, bus: MeterRow, from_: datetime, to: datetime
) -> Explanation:
    """Return the residual of a bus over [from_, to), full minutes; `bus` has meters below it.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    plant = configuration.plant
    from_, to = from_.astimezone(UTC), to.astimezone(UTC)
    children = plant.buses[bus.meter_id]
    members = (bus, *children)
    ids = sorted(each.meter_id for each in members)
    window_us = instant_us(to) - instant_us(from_)
    sums = {each.meter_id: _Sums() for each in members}
    totals = []
    async with snapshot(pool, "explain the balance of a bus") as connection:
        for portion in portions(stretches(from_, to, plant.zone), len(ids)):
            energy = await read_balance_energy(connection, ids, portion)
            of_children = {each.key: energy.by_meter[each.meter_id] for each in children}
            series = balance(energy.by_meter[bus.meter_id], of_children)
            totals.append(total(series, energy.widths_us, window_us))
            share = energy.widths_us / window_us
            for meter_id, of_meter in sums.items():
                of_meter.add(energy.by_meter[meter_id], np.isfinite(series.residual_kwh), share)
    whole = joined_total(totals)
    parts = [_part(each, sums[each.meter_id], (from_, to), is_bus=each is bus) for each in members]
    recomputed = None if any(each.figure is None for each in parts) else added(parts)
    agrees, remark = judged(whole.residual_kwh, recomputed, "kWh", _reasons(bus, whole))
    return Explanation(
        kind="balance",
        of=f"{(bus.residual_kind or 'residual').replace('_', ' ')} of {bus.key}",
        field="/api/v1/energy/balance buses.residual_kwh",
        from_=from_,
        to=to,
        time_zone=plant.site.time_zone,
        figure=whole.residual_kwh,
        unit="kWh",
        recomputed=recomputed,
        agrees=agrees,
        remark=remark,
        parts=[*parts, *_percent(whole)],
        rules=_rules(bus, whole),
        sources=_sources((bus, *children), from_, to),
    )


class _Sums:
    """What one meter counted over the balanced time [kWh], added up portion after portion; None while unknown."""

    def __init__(self) -> None:
        self.import_kwh: float | None = None
        self.export_kwh: float | None = None
        self.net_kwh: float | None = None
        self.estimated_kwh = 0.0
        self.coverage = 0.0
        self.known_share = 0.0

    def add(self, energy: BusEnergy, balanced: BoolArray, share: FloatArray) -> None:
        self.import_kwh = _plus(self.import_kwh, energy.import_kwh[balanced])
        self.export_kwh = _plus(self.export_kwh, energy.export_kwh[balanced])
        self.net_kwh = _plus(self.net_kwh, energy.net_kwh[balanced])
        self.estimated_kwh += float(np.nansum(energy.estimated_kwh[balanced]))
        self.coverage += float((share * energy.coverage).sum())
        self.known_share += float(share[energy.known].sum())


def _plus(before: float | None, values: FloatArray) -> float | None:
    return (before or 0.0) + float(np.nansum(values)) if np.isfinite(values).any() else before


def _part(meter: MeterRow, sums: _Sums, span: tuple[datetime, datetime], *, is_bus: bool) -> Part:
    """Return what a meter counted over the balanced time: the bus with +, those below it with -."""
    directions = [
        Part(what="import", figure=sums.import_kwh, unit="kWh"),
        Part(what="export", figure=sums.export_kwh, unit="kWh", sign="-"),
    ]
    whole = sums.known_share > 1 - _ROUNDING
    return Part(
        what=f"bus {meter.key}" if is_bus else f"meter {meter.key}",
        figure=sums.net_kwh,
        unit="kWh",
        sign="+" if is_bus else "-",
        how="import - export, over the time in which all of them are known",
        from_=span[0],
        to=span[1],
        facts={"coverage": sums.coverage, "estimated_kwh": sums.estimated_kwh},
        remark="" if whole else f"its energy is known for {100 * sums.known_share:.4g} % of the time",
        explain=energy_path(meter.key, instant_us(span[0]), instant_us(span[1])),
        parts=[each for each in directions if each.figure is not None],
    )


def _percent(whole: BalanceTotal) -> list[Part]:
    if whole.residual_percent is None:
        return []
    how = f"100 x {whole.residual_kwh:.12g} kWh / {whole.supply_kwh:.12g} kWh that came onto the bus"
    return [Part(what="in percent", figure=whole.residual_percent, unit="%", sign="", how=how)]


def _reasons(bus: MeterRow, whole: BalanceTotal) -> list[str]:
    reasons = []
    if whole.bus_missing_share:
        reasons.append(f"{bus.key} is not known in {100 * whole.bus_missing_share:.4g} % of the time")
    reasons += [f"{key} is not known in {100 * share:.4g} % of the time" for key, share in whole.missing.items()]
    if reasons:
        reasons.append(f"the balance is of the other {100 * whole.balanced_share:.4g} %")
    return reasons


def _rules(bus: MeterRow, whole: BalanceTotal) -> list[Rule]:
    rules = [
        Rule(name="residual", rule="bus - sum of the meters directly below it, import - export each"),
        Rule(
            name="balanced time",
            rule=f"intervals in which the bus and all of these meters are known: {100 * whole.balanced_share:.4g} %",
        ),
    ]
    if bus.residual_kind is not None:
        rules.append(
            Rule(name="what it is", rule=bus.residual_kind.replace("_", " "), source="the plant's description")
        )
    bands = (
        (bus.residual_low_percent, bus.residual_high_percent, "%"),
        (bus.residual_low_kw, bus.residual_high_kw, "kW"),
    )
    rules += [
        Rule(name="usual residual", rule=f"{low:g} to {high:g} {unit}", source="the plant's description")
        for low, high, unit in bands
        if low is not None and high is not None
    ]
    return rules


def _sources(meters: Sequence[MeterRow], from_: datetime, to: datetime) -> list[Source]:
    path = (instant_us(from_), instant_us(to))
    return [
        Source(kind="meter", name=each.key, facts={"name": each.name}, explain=energy_path(each.key, *path))
        for each in meters
    ]
