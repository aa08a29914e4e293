"""Tariffs as written: hours, seasons, holidays, versions, and lists of dynamic prices."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from emsd.energy.series import BUCKET_1M_US, datetime_to_us
from emsd.errors import PlantError
from emsd.plant.loader import load_plant
from emsd.plant.models import Site
from emsd.plant.tariff import Tariff, TariffCalendar, minutes_of, month_days_of
from emsd.plant.tariff_calendar import day_kind_of, schedule_key_of
from emsd.plant.tariff_prices import prices_of, tariff_spans

ROOT = Path(__file__).parents[2]
BERLIN = ZoneInfo("Europe/Berlin")
DAY = timedelta(days=1)
PLAIN: dict[str, Any] = {
    "key": "plain",
    "name": "Plain",
    "valid_from": "2026-01-01",
    "currency": "EUR",
    "rates": [
        {
            "periods": [
                {"name": "peak", "hours": ["08:00-20:00"], "price_per_kwh": 0.3},
                {"name": "night", "hours": ["20:00-08:00"], "price_per_kwh": 0.1},
            ]
        }
    ],
}


def tariff(**fields: Any) -> Tariff:
    return Tariff.model_validate(PLAIN | fields)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("10:00-12:00", [(600, 720)]),
        ("23:00-07:00", [(1380, 1440), (0, 420)]),
        ("00:00-24:00", [(0, 1440)]),
        ("22:00-24:00", [(1320, 1440)]),
        ("22:00 - 00:00", [(1320, 1440)]),
        ("7:05-7:20", [(425, 440)]),
    ],
)
def test_hours_are_stretches_of_the_local_day(text: str, minutes: list[tuple[int, int]]) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["10-12", "10:00", "25:00-26:00", "10:60-11:00", "10:00-10:00", "24:00-02:00", ""])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        minutes_of(text)


def test_ranges_of_dates_may_go_over_the_new_year() -> None:
    assert month_days_of("12-01..01-31") == ((12, 1), (1, 31))
    for wrong in ("02-30..03-01", "13-01..01-01", "1-1..2-2", "07-01"):
        with pytest.raises(ValueError):
            month_days_of(wrong)


def test_make_up_days_of_china_are_working_days_and_the_week_of_the_national_day_is_free() -> None:
    """State Council on the holidays of 2026: free 1 to 7 October, made up for on 20 September and 10 October."""
    kind = day_kind_of(TariffCalendar(country="CN"), [2026])
    assert [kind(date(2026, 10, day)) for day in (1, 7)] == ["holiday", "holiday"]
    assert date(2026, 10, 10).weekday() == 5
    assert [kind(date(2026, 9, 20)), kind(date(2026, 10, 10))] == ["mon", "mon"]
    assert [kind(date(2026, 10, 17)), kind(date(2026, 10, 8))] == ["sat", "thu"]


def test_weekends_next_to_a_holiday_are_part_of_it_where_the_notices_say_so() -> None:
    """State Council on the holidays of 2026: free 1 to 3 January, 15 to 23 February, 1 to 5 May, 1 to 7 October, ..."""
    kind = day_kind_of(TariffCalendar(country="CN", with_adjoining_weekends=True), [2026])
    days = [date(2026, 1, 1) + each * DAY for each in range(365)]
    free = [day for day in days if kind(day) == "holiday"]
    stretches = [(1, 1, 3), (2, 15, 23), (4, 4, 6), (5, 1, 5), (6, 19, 21), (9, 25, 27), (10, 1, 7)]
    assert free == [date(2026, month, day) for month, first, last in stretches for day in range(first, last + 1)]
    # A Saturday on which people work parts the Sunday after it from the holiday before it.
    friday = date(2026, 6, 5)
    own = TariffCalendar(holidays=(friday,), working_days=(friday + DAY,), with_adjoining_weekends=True)
    kind = day_kind_of(own, [2026])
    assert [kind(friday + each * DAY) for each in range(3)] == ["holiday", "mon", "sun"]


def test_holidays_of_a_part_of_a_country_and_those_of_ones_own() -> None:
    epiphany = date(2026, 1, 6)
    assert day_kind_of(TariffCalendar(country="DE", subdivision="BY"), [2026])(epiphany) == "holiday"
    assert day_kind_of(TariffCalendar(country="DE"), [2026])(epiphany) == "tue"
    own = TariffCalendar(country="DE", holidays=(date(2026, 12, 24),), working_days=(date(2026, 5, 1),))
    kind = day_kind_of(own, [2026])
    assert (kind(date(2026, 12, 24)), kind(date(2026, 5, 1))) == ("holiday", "mon")


def test_a_holiday_that_no_day_type_lists_is_the_day_of_the_week_that_it_is() -> None:
    week = [{"key": "work", "days": ["mon", "tue", "wed", "thu", "fri"]}, {"key": "end", "days": ["sat", "sun"]}]
    without = tariff(day_types=week)
    kind = day_kind_of(TariffCalendar(country="DE"), [2026])
    labour_day = date(2026, 5, 1)  # a Friday
    assert schedule_key_of(without, kind)(labour_day) == (None, "work")
    week[1]["days"] = ["sat", "sun", "holiday"]
    assert schedule_key_of(tariff(day_types=week), kind)(labour_day) == (None, "end")


def test_seasons_hold_leap_days_and_the_turn_of_the_year() -> None:
    seasons = [
        {"key": "winter", "dates": ["11-16..02-29"]},
        {"key": "summer", "dates": ["03-01..11-15"]},
    ]
    key = schedule_key_of(tariff(seasons=seasons), day_kind_of(TariffCalendar(), []))
    days = (date(2028, 2, 29), date(2026, 2, 28), date(2026, 3, 1), date(2026, 12, 31), date(2027, 1, 1))
    assert [key(day)[0] for day in days] == ["winter", "winter", "summer", "winter", "winter"]


def test_minutes_of_a_tariff_are_exact_on_both_days_of_a_changed_clock() -> None:
    counted = {}
    for day in (date(2026, 3, 29), date(2026, 10, 25)):
        periods = prices_of(tariff(), day, day + DAY, BERLIN)
        lengths = (periods.to_us - periods.from_us) // BUCKET_1M_US
        counted[day] = {name: int(lengths[periods.period == place].sum()) for place, name in enumerate(periods.names)}
    assert counted[date(2026, 3, 29)] == {"night": 660, "peak": 720}
    assert counted[date(2026, 10, 25)] == {"night": 780, "peak": 720}


def test_a_version_ends_where_the_next_begins() -> None:
    one, two = tariff(), tariff(key="next", valid_from="2026-07-01")
    assert [(each.tariff.key, each.first, each.end) for each in tariff_spans([two, one])] == [
        ("plain", date(2026, 1, 1), date(2026, 7, 1)),
        ("next", date(2026, 7, 1), None),
    ]
    ended = tariff(valid_to="2026-03-01")
    assert [each.end for each in tariff_spans([ended])] == [date(2026, 3, 1)]


def test_the_agreed_demand_changes_on_its_day() -> None:
    site = Site.model_validate(
        {
            "name": "S",
            "time_zone": "Europe/Berlin",
            "carbon_region": "DE",
            "contract_demand_kw": 4000,
            "contract_demand_changes": [{"valid_from": "2026-07-01", "contract_demand_kw": 5000}],
        }
    )
    assert [site.contract_demand_at(date(2026, 6, 30)), site.contract_demand_at(date(2026, 7, 1))] == [4000, 5000]


def test_the_example_plant_has_a_tariff_for_every_minute_of_the_year() -> None:
    plant = load_plant(ROOT / "config" / "plant.example.yaml", environ={}).plant
    (industrial,) = plant.tariffs
    periods = prices_of(industrial, date(2026, 1, 1), date(2027, 1, 1), plant.site.zone)
    assert (periods.from_us[1:] == periods.to_us[:-1]).all()
    assert int((periods.to_us - periods.from_us).sum()) // BUCKET_1M_US == 365 * 1440
    sharp = periods.period == periods.names.index("sharp")
    minutes = int((periods.to_us - periods.from_us)[sharp].sum()) // BUCKET_1M_US
    # Two hours a day in January, July, August and December, but not on 1 to 3 January, the holidays among these.
    assert minutes == (4 * 31 - 3) * 120


# ----------------------------------------------------------------------------------------------- dynamic prices

DYNAMIC = """\
site: {name: S, time_zone: Europe/Berlin, carbon_region: DE}
tariffs:
  - key: spot
    name: Spot
    valid_from: 2026-01-01
    currency: EUR
    dynamic_prices_csv: [prices.csv]
    rates: [{periods: [{name: network, hours: ["00:00-24:00"], price_per_kwh: 0.05}]}]
areas: [{key: hall, name: Hall}]
assets: [{key: supply, name: Supply, kind: incomer, area: hall, rated_power_kw: 1000}]
connections: [{key: gateway, kind: modbus_tcp, host: 10.0.0.5}]
meters: [{key: main, name: Main, asset: supply, profile: feeder_meter, connection: gateway, unit_id: 1}]
"""


def written(folder: Path, csv: str) -> Path:
    (folder / "plant.yaml").write_text(DYNAMIC)
    (folder / "prices.csv").write_text(csv)
    return folder / "plant.yaml"


def test_prices_of_an_exchange_are_added_hour_by_hour(tmp_path: Path, stock_profiles: Any) -> None:
    path = written(
        tmp_path,
        "time,price_per_kwh,remark\n"
        "2026-10-25T01:00:00+02:00,0.08,\n"
        "2026-10-25T02:00:00+02:00,-0.01,first of two\n"
        "2026-10-25T02:00:00+01:00,0.02,second of two\n",
    )
    (spot,) = load_plant(path, environ={}, profiles=stock_profiles).plant.tariffs
    assert [each.price_per_kwh for each in spot.dynamic_prices] == [0.08, -0.01, 0.02]
    day = date(2026, 10, 25)
    periods = prices_of(spot, day, day + DAY, BERLIN)
    begin_us = datetime_to_us(spot.dynamic_prices[0].time)
    at = np.array([begin_us + hour * 3_600_000_000 for hour in (-1, 0, 1, 2, 3)], dtype=np.int64)
    found = periods.price_per_kwh[periods.places(at)]
    assert found[1:4] == pytest.approx([0.13, 0.04, 0.07])
    assert np.isnan(found[[0, 4]]).all()


def priced(prices: dict[str, float], at: list[str]) -> list[float]:
    """Prices at some hours of 1 January 2026 of a tariff of 0 that only the list adds to."""
    listed = [{"time": f"2026-01-01T{time}+01:00", "price_per_kwh": price} for time, price in prices.items()]
    free = {"periods": [{"name": "flat", "hours": ["00:00-24:00"], "price_per_kwh": 0.0}]}
    periods = prices_of(tariff(dynamic_prices=listed, rates=[free]), date(2026, 1, 1), date(2026, 1, 2), BERLIN)
    instants = [datetime_to_us(datetime.fromisoformat(f"2026-01-01T{time}+01:00")) for time in at]
    found: list[float] = periods.price_per_kwh[periods.places(np.array(instants, dtype=np.int64))].tolist()
    return found


def test_where_hours_are_missing_in_a_list_of_prices_the_price_is_not_known() -> None:
    hourly = {"00:00": 0.1, "01:00": 0.2, "02:00": 0.3, "06:00": 0.4, "07:00": 0.5}
    at = ["00:59", "02:59", "03:00", "05:59", "06:00", "07:59", "08:00"]
    nan = float("nan")
    assert priced(hourly, at) == pytest.approx([0.1, 0.3, nan, nan, 0.4, 0.5, nan], nan_ok=True)
    # A list that changes every few hours has no holes; its last price holds for an hour.
    assert priced({"00:00": 0.1, "06:00": 0.2, "12:00": 0.3}, ["05:59", "11:59", "12:59", "13:00"]) == pytest.approx(
        [0.1, 0.2, 0.3, nan], nan_ok=True
    )


def test_spreadsheets_with_decimal_commas_are_read(tmp_path: Path, stock_profiles: Any) -> None:
    path = written(tmp_path, "price_per_kwh;time\n0,08;2026-01-01T00:00:00+01:00\n")
    (spot,) = load_plant(path, environ={}, profiles=stock_profiles).plant.tariffs
    assert [each.price_per_kwh for each in spot.dynamic_prices] == [0.08]


def test_what_is_wrong_in_a_list_of_prices_is_said_with_its_line(tmp_path: Path, stock_profiles: Any) -> None:
    path = written(tmp_path, "time,price_per_kwh\n2026-01-01T00:00:00+01:00,0.08\n2026-01-01T01:00:00,cheap\n")
    with pytest.raises(PlantError) as caught:
        load_plant(path, environ={}, profiles=stock_profiles)
    assert sorted((Path(each.file).name, each.line, each.field) for each in caught.value.faults) == [
        ("prices.csv", 3, "price_per_kwh"),
        ("prices.csv", 3, "time"),
    ]
    path = written(tmp_path, "when,price\n")
    with pytest.raises(PlantError, match=r"prices\.csv:1: time is not among the columns"):
        load_plant(path, environ={}, profiles=stock_profiles)
    (tmp_path / "prices.csv").unlink()
    with pytest.raises(PlantError, match=r"plant\.yaml:7: .*is not a file in"):
        load_plant(path, environ={}, profiles=stock_profiles)
