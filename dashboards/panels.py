"""One small builder a kind of panel, in the style of this house: a description always, gaps stay gaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from grafana_foundation_sdk.builders import (
    barchart,
    common,
    gauge,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as style
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

from .units import BLUE, NO_UNIT, Steps

__all__ = ["DATASOURCE", "Column", "Labels", "Panel", "bars", "dial", "number", "records", "series", "states"]

Panel: TypeAlias = barchart.Panel | gauge.Panel | stat.Panel | statetimeline.Panel | table.Panel | timeseries.Panel
Labels: TypeAlias = Mapping[str, tuple[str, str]]
"""Value as text -> (what is shown, colour)."""

DATASOURCE: Final = DataSourceRef(type_val="grafana-postgresql-datasource", uid="emsd-timescaledb")
_PLAIN: Final[Steps] = ((None, BLUE),)


@dataclass(frozen=True)
class Column:
    """How a column of a table is shown."""

    unit: str | None = None
    decimals: int | None = None
    width: int | None = None
    steps: Steps = ()
    labels: Labels | None = None
    bar: bool = False
    """Draw a bar as long as the share of the largest value."""


class _Sql(Builder[Dataquery]):
    """A query of the PostgreSQL datasource; the SDK has no model of it."""

    def __init__(self, sql: str, format_: Literal["time_series", "table"]) -> None:
        self._data: dict[str, object] = {
            "datasource": DATASOURCE.to_json(),
            "editorMode": "code",
            "format": format_,
            "rawQuery": True,
            "rawSql": sql,
            "refId": "A",
        }

    def build(self) -> Dataquery:
        return UnknownDataquery(self._data)


def number(
    title: str,
    about: str,
    sql: str,
    unit: str,
    *,
    steps: Steps = _PLAIN,
    decimals: int | None = None,
    width: int = 4,
    labels: Labels | None = None,
) -> Panel:
    """Return a panel with one large number: the first column of the only row."""
    panel = (
        stat.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .with_target(_Sql(sql, "table"))
        .unit(unit)
        .no_value("no data")
        .thresholds(_thresholds(steps))
        .color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .color_mode(style.BigValueColorMode.VALUE)
        .graph_mode(style.BigValueGraphMode.NONE)
        .reduce_options(_last())
        .height(4)
        .span(width)
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    return panel.mappings([_mapping(labels)]) if labels else panel


def dial(title: str, about: str, sql: str, unit: str, *, steps: Steps, maximum: float, width: int = 4) -> Panel:
    """Return a gauge from 0 to `maximum`."""
    return (
        gauge.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .with_target(_Sql(sql, "table"))
        .unit(unit)
        .decimals(0)
        .min(0)
        .max(maximum)
        .no_value("no data")
        .thresholds(_thresholds(steps))
        .reduce_options(_last())
        .height(4)
        .span(width)
    )


def series(
    title: str,
    about: str,
    sql: str,
    unit: str,
    *,
    min_interval: str = "1m",
    stacked: bool = False,
    as_bars: bool = False,
    steps: Steps = (),
    decimals: int | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    emphasis: Mapping[str, str] | None = None,
    width: int = 12,
) -> Panel:
    """Return a graph over time; NULL stays a gap.

    min_interval  finest $__interval; not finer than the data, or every sample would stand alone between gaps
    steps         thresholds, drawn as lines
    emphasis      name of a series -> colour: drawn as a dashed line without filling, such as a limit
    """
    legend = (
        common.VizLegendOptions().display_mode(style.LegendDisplayMode.TABLE).placement(style.LegendPlacement.RIGHT)
    )
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .with_target(_Sql(sql, "time_series"))
        .unit(unit)
        .interval(min_interval)
        .span_nulls(False)
        .show_points(style.VisibilityMode.AUTO)
        .line_width(1)
        .color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .tooltip(common.VizTooltipOptions().mode(style.TooltipDisplayMode.MULTI).sort(style.SortOrder.DESCENDING))
        .legend(legend.show_legend(True).calcs(["lastNotNull", "mean", "max"]))
        .height(8)
        .span(width)
    )
    if as_bars:
        panel = panel.draw_style(style.GraphDrawStyle.BARS).fill_opacity(70).line_width(0)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(style.StackingMode.NORMAL)).fill_opacity(60)
    if steps:
        drawn = common.GraphThresholdsStyleConfig().mode(style.GraphTresholdsStyleMode.DASHED)
        panel = panel.thresholds(_thresholds(steps)).thresholds_style(drawn)
    if decimals is not None:
        panel = panel.decimals(decimals)
    if minimum is not None:
        panel = panel.min(minimum)
    if maximum is not None:
        panel = panel.max(maximum)
    for name, color in (emphasis or {}).items():
        panel = panel.override_by_name(name, _dashed(color))
    return panel


def bars(
    title: str, about: str, sql: str, unit: str, *, beside: Mapping[str, str] | None = None, width: int = 12
) -> Panel:
    """Return a bar for each row: the first column names it, the second is its length.

    beside  further column -> unit: in the tooltip, not drawn
    """
    panel = (
        barchart.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .with_target(_Sql(sql, "table"))
        .unit(unit)
        .orientation(style.VizOrientation.HORIZONTAL)
        .show_value(style.VisibilityMode.ALWAYS)
        .legend(
            common.VizLegendOptions()
            .display_mode(style.LegendDisplayMode.LIST)
            .placement(style.LegendPlacement.BOTTOM)
            .show_legend(False)
        )
        .tooltip(common.VizTooltipOptions().mode(style.TooltipDisplayMode.MULTI).sort(style.SortOrder.NONE))
        .height(8)
        .span(width)
    )
    for name, beside_unit in (beside or {}).items():
        hidden = {"legend": True, "tooltip": False, "viz": True}
        panel = panel.override_by_name(
            name, [DynamicConfigValue("unit", beside_unit), DynamicConfigValue("custom.hideFrom", hidden)]
        )
    return panel


def records(
    title: str, about: str, sql: str, columns: Mapping[str, Column], *, width: int = 12, height: int = 8
) -> Panel:
    """Return a table; `columns` says how those are shown that are not plain text or numbers."""
    panel = (
        table.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .with_target(_Sql(sql, "table"))
        .unit(NO_UNIT)
        .show_header(True)
        .height(height)
        .span(width)
    )
    for name, column in columns.items():
        panel = panel.override_by_name(name, _properties(column))
    return panel


def states(title: str, about: str, sql: str, labels: Labels, *, min_interval: str = "30s", width: int = 12) -> Panel:
    """Return a band over time for each series, coloured by its state; NULL stays a gap."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(about)
        .datasource(DATASOURCE)
        .with_target(_Sql(sql, "time_series"))
        .unit(NO_UNIT)
        .interval(min_interval)
        .mappings([_mapping(labels)])
        .merge_values(True)
        .show_value(style.VisibilityMode.AUTO)
        .row_height(0.8)
        .fill_opacity(80)
        .height(6)
        .span(width)
    )


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().values(False).calcs(["lastNotNull"])


def _thresholds(steps: Steps) -> ThresholdsConfig:
    found = [Threshold(value=value, color=color) for value, color in steps]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(found)


def _mapping(labels: Labels) -> ValueMap:
    return ValueMap(
        {
            value: ValueMappingResult(text=text, color=color, index=place)
            for place, (value, (text, color)) in enumerate(labels.items())
        }
    )


def _dashed(color: str) -> list[DynamicConfigValue]:
    return [
        DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color}),
        DynamicConfigValue("custom.drawStyle", "line"),
        DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
        DynamicConfigValue("custom.lineWidth", 2),
        DynamicConfigValue("custom.fillOpacity", 0),
        DynamicConfigValue("custom.stacking", {"mode": "none", "group": "A"}),
    ]


def _properties(column: Column) -> list[DynamicConfigValue]:
    found: list[DynamicConfigValue] = []
    if column.unit is not None:
        found.append(DynamicConfigValue("unit", column.unit))
    if column.decimals is not None:
        found.append(DynamicConfigValue("decimals", column.decimals))
    if column.width is not None:
        found.append(DynamicConfigValue("custom.width", column.width))
    if column.labels is not None:
        found.append(DynamicConfigValue("mappings", [_mapping(column.labels).to_json()]))
    if column.steps:
        found.append(DynamicConfigValue("thresholds", _thresholds(column.steps).build().to_json()))
    if column.bar:
        found.append(DynamicConfigValue("custom.cellOptions", {"type": "gauge", "mode": "basic"}))
        found.append(DynamicConfigValue("min", 0))
    elif column.steps or column.labels:
        found.append(DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    return found
