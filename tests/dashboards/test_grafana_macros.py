"""The expander does what Grafana's own tests say of Grafana.

Cases from github.com/grafana/grafana: pkg/tsdb/grafana-postgresql-datasource/macros_test.go (there also without
TimescaleDB), public/app/plugins/datasource/grafana-postgresql-datasource/interpolationTruthTable.test.ts.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.dashboards.grafana_macros import (
    Expanded,
    Fill,
    MacroError,
    TimeRange,
    Variable,
    expand,
    format_interval,
    interval_of,
    parse_interval,
)

FROM = datetime(2018, 4, 12, 18, 0, tzinfo=UTC)
SHOWN = TimeRange(FROM, FROM + timedelta(minutes=5))


def expanded(sql: str, shown: TimeRange = SHOWN, **variables: Variable) -> Expanded:
    return expand(sql, shown, timedelta(minutes=10), variables)


@pytest.mark.parametrize(
    ("sql", "result"),
    [
        ("select $__time(time_column)", 'select time_column AS "time"'),
        ("select min($__time(time_column))", 'select min(time_column AS "time")'),
        (
            "WHERE $__timeFilter(time_column)",
            "WHERE time_column BETWEEN '2018-04-12T18:00:00Z' AND '2018-04-12T18:05:00Z'",
        ),
        ("select $__timeFrom()", "select '2018-04-12T18:00:00Z'"),
        ("select $__timeTo()", "select '2018-04-12T18:05:00Z'"),
        ("select $__timeEpoch(t)", 'select extract(epoch from t) as "time"'),
        ("GROUP BY $__timeGroup(time_column,'5m')", "GROUP BY time_bucket('300.000s',time_column)"),
        ("GROUP BY $__timeGroup(time_column , '5m')", "GROUP BY time_bucket('300.000s',time_column)"),
        ("GROUP BY $__timeGroup(time_column , '12d')", "GROUP BY time_bucket('1036800.000s',time_column)"),
        ("GROUP BY $__timeGroup(time_column , '20ms')", "GROUP BY time_bucket('0.020s',time_column)"),
        ("SELECT $__timeGroupAlias(t,'5m')", "SELECT time_bucket('300.000s',t) AS \"time\""),
        ("SELECT $__timeGroup(t,'5m'), value", "SELECT time_bucket('300.000s',t) AS \"time\", value"),
        ("SELECT $__timeGroup(t,'5m') as time, value", "SELECT time_bucket('300.000s',t) as time, value"),
        ("SELECT $__timeGroupAlias(t, $__interval)", "SELECT time_bucket('600.000s',t) AS \"time\""),
        ("select $__unixEpochFilter(time)", "select time >= 1523556000 AND time <= 1523556300"),
        (
            "select $__unixEpochNanoFilter(time)",
            "select time >= 1523556000000000000 AND time <= 1523556300000000000",
        ),
        ("select $__unixEpochNanoFrom()", "select 1523556000000000000"),
        ("select $__unixEpochNanoTo()", "select 1523556300000000000"),
        ("select $__unixEpochFrom(), $__unixEpochTo()", "select 1523556000, 1523556300"),
        ("SELECT $__unixEpochGroup(a+b,'5m')", "SELECT floor((a+b)/300)*300"),
        ("SELECT $__unixEpochGroupAlias(a+b,'5m')", 'SELECT floor((a+b)/300)*300 AS "time"'),
        ("SELECT $__interval, $__interval_ms", "SELECT 10m, 600000"),
    ],
)
def test_macros_become_what_they_become_in_grafana(sql: str, result: str) -> None:
    assert expanded(sql) == Expanded(result, None)


def test_fractions_of_a_second_and_times_before_1970_are_kept() -> None:
    shown = TimeRange(datetime(1960, 2, 1, 7, 0, 0, 500_000, UTC), datetime(1980, 2, 3, 8, 0, 0, 500_000, UTC))
    assert expanded("$__timeFilter(t)", shown).sql == "t BETWEEN '1960-02-01T07:00:00.5Z' AND '1980-02-03T08:00:00.5Z'"
    assert expanded("$__unixEpochFilter(t)", shown).sql == "t >= -312915600 AND t <= 318412800"


@pytest.mark.parametrize(
    ("argument", "fill"),
    [
        ("NULL", Fill(timedelta(minutes=5), "null")),
        ("previous", Fill(timedelta(minutes=5), "previous")),
        ("1.5", Fill(timedelta(minutes=5), "value", 1.5)),
    ],
)
def test_the_third_argument_of_time_group_asks_for_filling(argument: str, fill: Fill) -> None:
    found = expanded(f"SELECT $__timeGroupAlias(t,'5m', {argument})")
    assert found == Expanded("SELECT time_bucket('300.000s',t) AS \"time\"", fill)


@pytest.mark.parametrize(
    "sql", ["$__nonsense(t)", "$__timeGroup(t)", "$__timeGroup(t,'often')", "$__timeGroup(t,'5m',sometimes)"]
)
def test_what_grafana_refuses_is_refused(sql: str) -> None:
    with pytest.raises(MacroError):
        expanded(sql)


@pytest.mark.parametrize(
    ("sql", "variable", "result"),
    [
        ("host = $v", Variable("server01"), "host = server01"),
        ("host = '$v'", Variable("O'Brien"), "host = 'O''Brien'"),
        ("host IN ($v)", Variable(["srv1", "srv2"], multi=True), "host IN ('srv1','srv2')"),
        ("host IN (${v})", Variable(["O'Brien", "D'Angelo"], multi=True), "host IN ('O''Brien','D''Angelo')"),
        ("host = $v", Variable("app1", multi=True), "host = 'app1'"),
        ("host = $v", Variable("app1", include_all=True), "host = 'app1'"),
        ("region IN ($v)", Variable(["us", "eu"], include_all=True), "region IN ('us','eu')"),
        ("host IN (${v:sqlstring})", Variable(["srv1", "test'value2"], multi=True), "host IN ('srv1','test''value2')"),
        ("host = ${v:sqlstring}", Variable("it's"), "host = 'it''s'"),
        ("host = ANY (ARRAY[${v:sqlstring}]::text[])", Variable([], multi=True), "host = ANY (ARRAY[]::text[])"),
        ("ms IN (${v:csv})", Variable(["50", "75"], multi=True), "ms IN (50,75)"),
        ("$other IN ([[v]])", Variable(["a"], multi=True), "$other IN ('a')"),
    ],
)
def test_variables_are_quoted_as_the_datasource_and_the_format_say(sql: str, variable: Variable, result: str) -> None:
    assert expanded(sql, v=variable).sql == result


@pytest.mark.parametrize(
    ("hours", "points", "lowest", "interval"),
    [
        (24, 1000, None, "1m"),
        (6, 1000, None, "20s"),
        (6, 1000, "30s", "30s"),
        (720, 1000, "1m", "30m"),
        (1, 100, "1d", "1d"),
    ],
)
def test_the_interval_follows_the_range_the_points_and_the_panels_lowest(
    hours: int, points: int, lowest: str | None, interval: str
) -> None:
    shown = TimeRange(FROM, FROM + timedelta(hours=hours))
    assert format_interval(interval_of(shown, points, lowest)) == interval


@pytest.mark.parametrize(
    ("text", "seconds"), [("20ms", 0.02), ("90s", 90), ("1h30m", 5400), ("12d", 1_036_800), ("2w", 1_209_600)]
)
def test_intervals_are_read_as_grafana_reads_them(text: str, seconds: float) -> None:
    assert parse_interval(text) == timedelta(seconds=seconds)
