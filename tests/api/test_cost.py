"""Cost over HTTP: every number here was worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from emsd.energy.events import EventKind, MeterEvent
from emsd.readings import instant_us
from emsd.store.gauges import quantity_ids
from emsd.store.meter_events import add_event
from emsd.store.tariff import sync_tariffs
from tests.api.conftest import METER_ID
from tests.store.test_tariff import NEW, OLD, plant

if TYPE_CHECKING:
    from tests.api.conftest import Factory, OpenClient

# The site of these tests lies in Berlin: 29 March 2026 has 23 hours, 25 October has 25.
MARCH = datetime(2026, 2, 28, 23, tzinfo=UTC)
APRIL = datetime(2026, 3, 31, 22, tzinfo=UTC)
NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
TARIFF = OLD | {"power_factor": None, "tax_percent": 10, "fixed_per_month": 50}


async def use(factory: Factory, *tariffs: dict[str, Any], **site: Any) -> None:
    async with factory.pool.acquire() as connection, connection.transaction():
        await sync_tariffs(connection, plant(*tariffs, **site), now=NOW)


async def quarters(
    factory: Factory, key: str, from_: datetime, to: datetime, *, drawn: float | None, given: float | None = None
) -> None:
    """Write quarter hours [from_, to) with this much energy each [kWh]."""
    await factory.execute(
        "INSERT INTO interval_15m (bucket, meter_id, energy_import_kwh, energy_export_kwh, coverage, sample_count)"
        " SELECT bucket, $1, $4, $5, 1, 900"
        " FROM generate_series($2::timestamptz, $3::timestamptz - interval '15 minutes', '15 minutes') AS bucket",
        METER_ID[key],
        from_,
        to,
        drawn,
        given,
    )


async def cost(client: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    asked = {name.rstrip("_"): value for name, value in parameters.items()}
    for name in ("from", "to"):
        if isinstance(asked.get(name), datetime):
            asked[name] = asked[name].isoformat()
    answer = await client.get("/api/v1/cost", params=asked)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def by_period(row: dict[str, Any]) -> dict[str, Any]:
    return {each["period"]: (each["energy_kwh"], each["cost"]) for each in row["periods"]}


async def test_a_month_with_a_changed_clock_costs_what_its_hours_cost(
    factory: Factory, open_client: OpenClient
) -> None:
    """1 kWh a quarter hour in March 2026: 743 hours, 31 x 12 of them peak, the night lacks one."""
    await use(factory, TARIFF, contract_demand_kw=4000)
    await quarters(factory, "incomer", MARCH, APRIL, drawn=1.0, given=0.5)
    body = await cost(open_client(NOW), from_=MARCH, to=APRIL)
    (row,) = body["rows"]
    assert (body["currency"], body["basis"], body["meters"]) == ("EUR", "grid_import", ["incomer"])
    assert by_period(row) == {
        "peak": (1488, pytest.approx(1488 * 0.3)),
        "night": (1484, pytest.approx(1484 * 0.1)),
    }
    assert (row["drawn_kwh"], row["given_kwh"], row["priced_share"], row["coverage"]) == (2972, 1486, 1.0, 1.0)
    assert row["complete"] is True
    made = row["bill"]
    energy, levies = 1488 * 0.3 + 1484 * 0.1, 2972 * 0.02
    assert made["energy"] == pytest.approx(energy) == row["energy_cost"]
    assert made["levies"] == pytest.approx(levies)
    # 1 kWh in a quarter hour are 4 kW.
    assert (made["demand_billed"], made["demand_charge"]) == (pytest.approx(4), pytest.approx(38))
    assert made["demand_at"] == "2026-02-28T23:00:00Z"
    net = energy + levies + 38 + 50
    assert made["tax"] == pytest.approx(net * 0.1)
    assert made["feed_in_credit"] == pytest.approx(1486 * 0.08)
    assert made["total"] == pytest.approx(net * 1.1 - 1486 * 0.08)
    assert (made["tariff"], made["power_factor_adjustment"]) == ("old", 0)


@pytest.mark.parametrize(
    ("begin", "hours", "night_kwh"),
    [(datetime(2026, 3, 28, 23, tzinfo=UTC), 23, 44), (datetime(2026, 10, 24, 22, tzinfo=UTC), 25, 52)],
)
async def test_days_of_a_changed_clock_have_23_and_25_hours_of_cost(
    factory: Factory, open_client: OpenClient, begin: datetime, hours: int, night_kwh: float
) -> None:
    await use(factory, TARIFF)
    await quarters(factory, "incomer", begin - timedelta(days=1), begin + timedelta(hours=50), drawn=1.0)
    end = begin + timedelta(hours=hours)
    body = await cost(open_client(NOW), from_=begin - timedelta(days=1), to=end + timedelta(days=1), per="day")
    before, day, after = body["rows"]
    assert by_period(day) == {"peak": (48, pytest.approx(14.4)), "night": (night_kwh, pytest.approx(night_kwh / 10))}
    assert day["bill"] is None
    assert by_period(before)["night"][0] == by_period(after)["night"][0] == 48


async def test_a_part_of_the_site_is_charged_for_its_own_hours(factory: Factory, open_client: OpenClient) -> None:
    """Tool 1 works by night, tool 2 by day; PV is used where it hangs, and is no import of anybody."""
    await use(factory, TARIFF)
    morning = datetime(2026, 5, 4, 6, tzinfo=UTC)  # 08:00 at the site
    hour = timedelta(hours=1)
    await quarters(factory, "tool-1", morning - hour, morning, drawn=10.0)
    await quarters(factory, "tool-2", morning, morning + hour, drawn=10.0)
    await quarters(factory, "fab-feeder", morning - hour, morning + hour, drawn=12.0)
    await quarters(factory, "compressor-feeder", morning - hour, morning + hour, drawn=20.0)
    await quarters(factory, "pv", morning, morning + hour, drawn=0.0, given=5.0)
    client = open_client(NOW)
    asked = {"from_": morning - hour, "to": morning + hour, "per": "total"}

    async def energy_cost(scope: str, key: str) -> float:
        body = await cost(client, scope=scope, key=key, **asked)
        assert (body["basis"], body["rows"][0]["bill"]) == ("consumption", None)
        found: float = body["rows"][0]["energy_cost"]
        return found

    assert await energy_cost("meter", "tool-1") == pytest.approx(40 * 0.1)
    assert await energy_cost("meter", "tool-2") == pytest.approx(40 * 0.3)
    assert await energy_cost("area", "fab") == pytest.approx(48 * 0.1 + 48 * 0.3)
    # The feeder's draw, and the inverter's net of -20 with the 20 that it made.
    assert await energy_cost("area", "utility") == pytest.approx(80 * 0.1 + 80 * 0.3)


async def test_an_inverter_that_sleeps_adds_nothing_and_one_that_never_spoke_leaves_the_consumption_unknown(
    factory: Factory, open_client: OpenClient
) -> None:
    """20 kWh a quarter hour at the feeder; an inverter beside it that counts export only, 5 kWh of which are used."""
    await use(factory, TARIFF)
    noon = datetime(2026, 5, 4, 10, tzinfo=UTC)
    half_an_hour = {
        "from_": noon,
        "to": noon + timedelta(minutes=30),
        "per": "total",
        "scope": "area",
        "key": "utility",
    }
    await quarters(factory, "compressor-feeder", noon, noon + timedelta(minutes=30), drawn=20.0)
    await quarters(factory, "pv", noon, noon + timedelta(minutes=15), drawn=None, given=5.0)
    client = open_client(NOW)
    (row,) = (await cost(client, **half_an_hour))["rows"]
    assert (row["drawn_kwh"], row["energy_cost"]) == (pytest.approx(40), pytest.approx(12))
    assert (row["coverage"], row["given_kwh"]) == (pytest.approx(0.75), None)
    await factory.execute("DELETE FROM interval_15m WHERE meter_id = $1", METER_ID["pv"])
    (row,) = (await cost(client, **half_an_hour))["rows"]
    assert (row["drawn_kwh"], row["energy_cost"], row["coverage"]) == (None, None, 0.5)


async def test_energy_without_a_price_has_no_cost_and_a_month_without_demand_no_total(
    factory: Factory, open_client: OpenClient
) -> None:
    await use(factory, TARIFF | {"valid_from": "2026-03-11"})
    middle = datetime(2026, 3, 10, 23, tzinfo=UTC)
    await quarters(factory, "incomer", middle - timedelta(hours=1), middle + timedelta(hours=3), drawn=1.0)
    client = open_client(NOW)
    (row,) = (await cost(client, from_=MARCH, to=APRIL))["rows"]
    assert (row["drawn_kwh"], row["energy_cost"], row["priced_share"]) == (16, pytest.approx(1.2), 0.75)
    assert row["coverage"] == pytest.approx(4 / 743)
    assert row["bill"] is None  # no tariff when the month began
    (may,) = (await cost(client, from_="2026-04-30T22:00:00Z", to="2026-05-31T22:00:00Z"))["rows"]
    assert (may["energy_cost"], may["drawn_kwh"], may["coverage"]) == (None, None, 0)
    assert (may["bill"]["demand_charge"], may["bill"]["total"]) == (None, None)
    assert may["bill"]["fixed_charge"] == 50
    none = (await cost(open_client(NOW), from_="2026-01-31T23:00:00Z", to=MARCH))["rows"][0]
    assert (none["energy_cost"], none["bill"]) == (None, None)


async def test_a_price_that_changes_within_a_quarter_hour_goes_by_its_minutes(
    factory: Factory, open_client: OpenClient
) -> None:
    """Peak from 08:10: of the quarter hour from 08:00 ten minutes are night, in which nearly all was drawn."""
    odd = [
        {"name": "peak", "hours": ["08:10-20:00"], "price_per_kwh": 0.3},
        {"name": "night", "hours": ["20:00-08:10"], "price_per_kwh": 0.1},
    ]
    await use(factory, TARIFF | {"rates": [{"periods": odd}]})
    morning = datetime(2026, 5, 4, 6, tzinfo=UTC)
    await factory.fill("incomer", morning, morning + timedelta(minutes=10), imported=9.0)
    await factory.fill("incomer", morning + timedelta(minutes=10), morning + timedelta(minutes=15), imported=2.0)
    await quarters(factory, "incomer", morning, morning + timedelta(minutes=15), drawn=100.0)
    # A day later the minutes are no longer kept.
    later = morning + timedelta(days=1)
    await quarters(factory, "incomer", later, later + timedelta(minutes=15), drawn=90.0)
    client = open_client(NOW)
    (row,) = (await cost(client, from_=morning, to=morning + timedelta(minutes=30), per="total"))["rows"]
    assert by_period(row) == {"night": (90, pytest.approx(9)), "peak": (10, pytest.approx(3))}
    assert row["estimated_share"] == 0
    assert row["coverage"] == pytest.approx(0.5)
    (spread,) = (await cost(client, from_=later, to=later + timedelta(minutes=15), per="total"))["rows"]
    assert by_period(spread) == {"night": (60, pytest.approx(6)), "peak": (30, pytest.approx(9))}
    assert spread["estimated_share"] == 1


async def test_versions_change_within_a_range_and_bills_of_months_are_added(
    factory: Factory, open_client: OpenClient
) -> None:
    await use(factory, TARIFF, NEW)
    june, august = datetime(2026, 5, 31, 22, tzinfo=UTC), datetime(2026, 7, 31, 22, tzinfo=UTC)
    await quarters(factory, "incomer", june, august, drawn=1.0)
    client = open_client(NOW)
    months = (await cost(client, from_=june, to=august))["rows"]
    assert [each["bill"]["tariff"] for each in months] == ["old", "new"]
    assert by_period(months[1]) == {"flat": (2976, pytest.approx(2976 * 0.2))}
    (total,) = (await cost(client, from_=june, to=august, per="total"))["rows"]
    assert total["bill"]["total"] == pytest.approx(sum(each["bill"]["total"] for each in months))
    assert total["energy_cost"] == pytest.approx(sum(each["energy_cost"] for each in months))
    # A month of which the range lacks the beginning has no bill.
    (partial,) = (await cost(client, from_=june + timedelta(days=1), to=august, per="total"))["rows"]
    assert partial["bill"] is None
    # The range of nobody's choice is the month so far.
    body = await cost(client)
    assert (body["rows"][0]["from"], body["rows"][0]["to"]) == ("2026-10-31T23:00:00Z", "2026-11-02T11:45:00Z")
    assert body["rows"][0]["complete"] is False


async def test_the_power_factor_of_a_month_comes_from_its_counters_or_from_reactive_power(
    factory: Factory, open_client: OpenClient
) -> None:
    await use(factory, TARIFF | {"power_factor": {"standard": 0.9}, "demand_charge": None})
    await quarters(factory, "incomer", MARCH, APRIL, drawn=1.0)  # 2972 kWh
    client = open_client(NOW)
    assert (await cost(client, from_=MARCH, to=APRIL))["rows"][0]["bill"]["power_factor"] is None
    # 2 kvarh an hour in one direction and 0.5 in the other: 743 x 2.5 = 1857.5 kvarh.
    await factory.execute(
        "INSERT INTO reading (time, meter_id, reactive_energy_import_kvarh, reactive_energy_export_kvarh)"
        " SELECT time, $1, 100 + 2 * extract(epoch FROM time - $2) / 3600, extract(epoch FROM time - $2) / 7200"
        " FROM generate_series($2::timestamptz, $3::timestamptz, '10 minutes') AS time",
        METER_ID["incomer"],
        MARCH,
        APRIL,
    )
    made = (await cost(client, from_=MARCH, to=APRIL))["rows"][0]["bill"]
    assert (made["reactive_kvarh"], made["reactive_source"]) == (pytest.approx(1857.5), "counters")
    assert made["power_factor"] == pytest.approx(0.848, abs=5e-4)
    assert made["power_factor_percent"] == 2.5
    assert made["power_factor_adjustment"] == pytest.approx(made["energy"] * 0.025)
    await factory.execute("DELETE FROM reading")
    async with factory.pool.acquire() as connection:
        number = (await quantity_ids(connection))["reactive_power_kvar"]
    await factory.execute(
        "INSERT INTO gauge_15m (meter_id, bucket, quantity_id, min_value, avg_value, max_value, sample_count)"
        " SELECT $1, bucket, $4, -3, -2.5, -2, 900"
        " FROM generate_series($2::timestamptz, $3::timestamptz - interval '15 minutes', '15 minutes') AS bucket",
        METER_ID["incomer"],
        MARCH,
        APRIL,
        number,
    )
    made = (await cost(client, from_=MARCH, to=APRIL))["rows"][0]["bill"]
    assert (made["reactive_kvarh"], made["reactive_source"]) == (pytest.approx(1857.5), "power")
    assert made["power_factor_percent"] == 2.5


async def test_the_power_factor_goes_through_a_swap_and_other_current_transformers(
    factory: Factory, open_client: OpenClient
) -> None:
    """2 kvarh an hour by the device: for ten days, then by a new one, and from the 20th on times 3."""
    await use(factory, TARIFF | {"power_factor": {"standard": 0.9}, "demand_charge": None})
    await quarters(factory, "incomer", MARCH, APRIL, drawn=1.0)
    swapped, other = MARCH + timedelta(days=10), MARCH + timedelta(days=20)
    await factory.execute(
        "INSERT INTO reading (time, meter_id, reactive_energy_import_kvarh)"
        " SELECT time, $1, CASE WHEN time < $4 THEN 90000 ELSE 500 END + 2 * extract(epoch FROM time - $2) / 3600"
        " FROM generate_series($2::timestamptz, $3::timestamptz, '10 minutes') AS time",
        METER_ID["incomer"], MARCH, APRIL, swapped,
    )  # fmt: skip
    for event in (
        MeterEvent(EventKind.SWAP, instant_us(swapped)),
        MeterEvent(EventKind.CT_RATIO, instant_us(other), factor=3.0),
    ):
        await add_event(factory.pool, METER_ID["incomer"], event, author="l.wei", note="a test", now=NOW)
    made = (await cost(open_client(NOW), from_=MARCH, to=APRIL))["rows"][0]["bill"]
    # The hour of the swap is unknown, and nothing is invented for it.
    hours = 743 - 1 + 2 * (APRIL - other) / timedelta(hours=1)
    assert made["reactive_kvarh"] == pytest.approx(2 * hours)


async def test_the_counter_of_a_meter_that_is_polled_once_an_hour_gives_a_power_factor(
    factory: Factory, open_client: OpenClient
) -> None:
    """Its readings come at 40 minutes past the hour: 2 kvarh an hour, and a kilowatt-hour a quarter hour."""
    await use(factory, TARIFF | {"power_factor": {"standard": 0.9}, "demand_charge": None})
    await quarters(factory, "incomer", MARCH, APRIL, drawn=1.0)
    await factory.execute("UPDATE meter SET poll_interval_s = 3600 WHERE key = 'incomer'")
    await factory.execute(
        "INSERT INTO reading (time, meter_id, reactive_energy_import_kvarh)"
        " SELECT time, $1, 100 + 2 * extract(epoch FROM time - $2) / 3600"
        " FROM generate_series($2::timestamptz - interval '20 minutes', $3::timestamptz + interval '40 minutes',"
        " '1 hour') AS time",
        METER_ID["incomer"],
        MARCH,
        APRIL,
    )
    made = (await cost(open_client(NOW), from_=MARCH, to=APRIL))["rows"][0]["bill"]
    assert (made["reactive_kvarh"], made["reactive_source"]) == (pytest.approx(1486, rel=2e-3), "counters")
    assert made["power_factor"] == pytest.approx(2 / 5**0.5, abs=5e-4)


async def test_demand_above_the_contract_is_on_the_bill_of_its_month(factory: Factory, open_client: OpenClient) -> None:
    """1.5 kWh in one quarter hour are 6 kW; 5 are agreed: 5 kW at 9.5, 0.5 at twice and 0.5 at three times that."""
    bands = [{"above_share_of_contract": 1, "price_factor": 2}, {"above_share_of_contract": 1.1, "price_factor": 3}]
    charge = TARIFF["demand_charge"] | {"minimum_share_of_contract": 0.9, "excess": bands}
    await use(factory, TARIFF | {"demand_charge": charge}, contract_demand_kw=5)
    peak = datetime(2026, 3, 10, 12, tzinfo=UTC)
    await quarters(factory, "incomer", MARCH, APRIL, drawn=1.0)
    await factory.execute("UPDATE interval_15m SET energy_import_kwh = 1.5 WHERE bucket = $1", peak)
    await factory.execute("UPDATE interval_15m SET coverage = 0.5 WHERE bucket = $1", peak + timedelta(hours=1))
    client = open_client(NOW)
    made = (await cost(client, from_=MARCH, to=APRIL))["rows"][0]["bill"]
    assert (made["demand_kw"], made["demand_at"]) == (pytest.approx(6), "2026-03-10T12:00:00Z")
    assert (made["contract_demand_kw"], made["untrusted_blocks"]) == (5, 1)
    assert (made["demand_billed"], made["demand_charge"]) == (pytest.approx(5), pytest.approx(47.5))
    assert (made["demand_excess_kw"], made["demand_surcharge"]) == (pytest.approx(1), pytest.approx(9.5 + 14.25))
    net = made["energy"] + made["levies"] + 47.5 + 23.75 + 50
    assert made["total"] == pytest.approx(net * 1.1)
    entry = (await client.get("/api/v1/tariff")).json()["tariffs"][0]
    assert (entry["demand_minimum_share"], entry["demand_excess"]) == (0.9, bands)
    # A month of little: 4 kW were drawn, 90 % of 5 are billed.
    await factory.execute("UPDATE interval_15m SET energy_import_kwh = 1 WHERE bucket = $1", peak)
    made = (await cost(client, from_=MARCH, to=APRIL))["rows"][0]["bill"]
    assert (made["demand_billed"], made["demand_excess_kw"], made["demand_surcharge"]) == (pytest.approx(4.5), 0, 0)
    # Together with a month of which nothing is known there is no sum.
    (both,) = (await cost(client, from_=MARCH, to="2026-04-30T22:00:00Z", per="total"))["rows"]
    assert (both["bill"]["demand_surcharge"], both["bill"]["total"]) == (None, None)


async def test_a_bill_of_energy_without_a_price_has_no_total(factory: Factory, open_client: OpenClient) -> None:
    """The tariff ends on 11 March and none follows."""
    await use(factory, TARIFF | {"valid_to": "2026-03-11", "demand_charge": None})
    await quarters(factory, "incomer", MARCH, APRIL, drawn=1.0)
    (row,) = (await cost(open_client(NOW), from_=MARCH, to=APRIL))["rows"]
    assert row["priced_share"] == pytest.approx(960 / 2972)
    assert row["energy_cost"] == pytest.approx(480 * 0.3 + 480 * 0.1)
    assert (row["bill"]["energy"], row["bill"]["total"]) == (None, None)


async def test_the_tariff_can_be_read_and_wrong_questions_are_answered_with_the_cure(
    factory: Factory, open_client: OpenClient
) -> None:
    client = open_client(NOW)
    empty = (await client.get("/api/v1/tariff")).json()
    assert empty == {"tariffs": [], "prices": []}
    assert (await cost(client))["currency"] is None
    await use(factory, TARIFF, NEW)
    answer = await client.get("/api/v1/tariff", params={"from": "2026-03-28T23:00:00Z", "to": "2026-03-29T22:00:00Z"})
    body = answer.json()
    assert [(each["key"], each["in_force"]) for each in body["tariffs"]] == [("old", False), ("new", True)]
    assert [each["period"] for each in body["prices"]] == ["night", "peak", "night"]
    assert body["prices"][1]["from"] == "2026-03-29T06:00:00Z"
    for query, said in (
        ("/api/v1/cost?from=2026-03-01T00:07:00Z", "is no full quarter hour"),
        ("/api/v1/cost?from=2020-03-01T00:00:00Z", "at most three years"),
        ("/api/v1/cost?scope=area", "is missing for scope area"),
        ("/api/v1/cost?per=week", "per"),
        ("/api/v1/tariff?from=2020-01-01T00:00:00Z&to=2022-01-01T00:00:00Z", "at most a year"),
    ):
        answer = await client.get(query)
        assert (answer.status_code, said in answer.json()["detail"]) == (422, True), answer.text
    assert (await client.get("/api/v1/cost?scope=area&key=fabb")).json()["did_you_mean"] == ["fab"]
