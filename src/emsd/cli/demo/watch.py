"""What a person sees while the demo runs: figures read through the service's own API."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["Acknowledger", "Figures", "Screen", "is_ready", "read_figures"]

_TIMEOUT_S: Final = 3.0
_WINDOWS: Final = {
    "15m": "15 min",
    "1h": "1 h",
    "24h": "24 h",
    "7d": "7 days",
    "today": "today",
    "month_to_date": "month to date",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at the service; None is what it did not answer."""

    plant_kw: float | None = None
    grid_kw: float | None = None
    pv_kw: float | None = None
    windows: Sequence[Mapping[str, Any]] = ()
    alarms: Sequence[Mapping[str, Any]] = ()
    accepted: float | None = None
    lost: float | None = None
    at_s: float = field(default_factory=time.monotonic)


async def is_ready(client: httpx.AsyncClient) -> bool:
    """Whether the service says that everything it needs is there."""
    try:
        return (await client.get("/readyz")).is_success
    except httpx.HTTPError:
        return False


async def read_figures(client: httpx.AsyncClient) -> Figures:
    """Read everything that the screen shows; a service that is away leaves it empty."""
    try:
        latest = (await client.get("/api/v1/latest")).raise_for_status().json()
        rolling = (await client.get("/api/v1/energy/rolling")).raise_for_status().json()
        alarms = (await client.get("/api/v1/alarms")).raise_for_status().json()
        metrics = (await client.get("/metrics")).raise_for_status().text
    except (httpx.HTTPError, ValueError):
        return Figures()
    power = {
        meter["meter"]: meter["values"]["active_power_kw"]["value"]
        for meter in latest["meters"]
        if "active_power_kw" in meter["values"]
    }
    grid = [power[key] for key in rolling["meters"] if key in power]
    pv = [-power[key] for key in rolling["generation_meters"] if key in power]
    return Figures(
        plant_kw=sum(grid) + sum(pv) if grid else None,
        grid_kw=sum(grid) if grid else None,
        pv_kw=sum(pv) if pv else None,
        windows=rolling["windows"],
        alarms=alarms["alarms"],
        accepted=_metric(metrics, "emsd_ingest_accepted_total"),
        lost=_metric(metrics, "emsd_ingest_lost_total"),
    )


def _metric(text: str, name: str) -> float | None:
    for line in text.splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    return None


class Acknowledger:
    """The person on call, who acknowledges each alarm once, some seconds after it was raised."""

    def __init__(self, client: httpx.AsyncClient, token: str, *, after_s: float = 4.0) -> None:
        self._client = client
        self._token = token
        self._after_s = after_s
        self._seen: dict[int, float] = {}
        self.acknowledged = 0

    async def look(self, alarms: Sequence[Mapping[str, Any]]) -> None:
        """Acknowledge what has been standing unacknowledged for long enough."""
        now_s = time.monotonic()
        open_ids = {alarm["alarm_id"] for alarm in alarms if alarm["state"] == "unacknowledged"}
        self._seen = {each: self._seen.get(each, now_s) for each in open_ids}
        for alarm_id in [each for each, since_s in self._seen.items() if now_s - since_s >= self._after_s]:
            with contextlib.suppress(httpx.HTTPError):
                answer = await self._client.post(
                    f"/api/v1/alarms/{alarm_id}/acknowledge",
                    json={"author": "demo", "note": "Seen; the door is being closed."},
                    headers={"Authorization": f"Bearer {self._token}"},
                )
                self.acknowledged += answer.is_success


class Screen:
    """Turns figures into a table; keeps the look before, for rates."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = addresses
        self._before = Figures()
        self._rate: float | None = None
        self._states: dict[str, list[str]] = {}

    def take(self, figures: Figures) -> None:
        """Note a look: the rate of samples, and every state of every alarm."""
        if figures.accepted is not None and self._before.accepted is not None:
            elapsed_s = figures.at_s - self._before.at_s
            if elapsed_s > 0 and figures.accepted >= self._before.accepted:
                self._rate = (figures.accepted - self._before.accepted) / elapsed_s
        self._before = figures
        for alarm in figures.alarms:
            states = self._states.setdefault(f"{alarm['name']} ({alarm['meter']})", [])
            if not states or states[-1] != alarm["state"]:
                states.append(alarm["state"])

    def alarms_that_moved(self) -> Iterator[tuple[str, list[str]]]:
        """Yield every alarm that was in more than one state, and its states as they were seen."""
        return ((name, states) for name, states in self._states.items() if len(states) > 1)

    def line(self, elapsed_s: float) -> str:
        """Return the look as one line, for output that is no terminal."""
        figures = self._before
        day = next((each for each in figures.windows if each["window"] == "today"), {})
        return (
            f"{elapsed_s:5.0f} s  plant {_number(figures.plant_kw)} kW  PV {_number(figures.pv_kw)} kW  "
            f"today {_number(day.get('consumption_kwh'))} kWh, {_number(day.get('kg_co2'))} kgCO2  "
            f"alarms {len(self._standing())}  {_number(self._rate)} samples/s"
        )

    def render(self, elapsed_s: float, status: str) -> RenderableType:
        """Return the look as tables."""
        figures = self._before
        power = Table.grid(padding=(0, 4))
        power.add_row(
            f"[bold]plant[/bold] {_number(figures.plant_kw)} kW",
            f"[bold]grid[/bold] {_number(figures.grid_kw)} kW",
            f"[bold yellow]PV[/bold yellow] {_number(figures.pv_kw)} kW",
            f"[bold]samples/s[/bold] {_number(self._rate)}",
            f"[bold]lost[/bold] {_number(figures.lost)}",
        )
        return Group(power, self._windows(), self._alarms(), Text(f"{elapsed_s:.0f} s   {status}"))

    def address_lines(self) -> Iterator[str]:
        """Yield where to look, a line each."""
        width = max(map(len, self._addresses))
        for name, address in self._addresses.items():
            yield f"[dim]{name:{width}}[/dim]  {address}"

    def _windows(self) -> Table:
        table = Table("Window", title="Site", title_justify="left")
        for name in ("Consumption kWh", "From grid kWh", "PV kWh", "kgCO2", "Coverage", "Estimated"):
            table.add_column(name, justify="right")
        for each in self._before.windows:
            table.add_row(
                _WINDOWS[each["window"]],
                _number(each["consumption_kwh"]),
                _number(each["import_kwh"]),
                _number(each["generation_kwh"]),
                _number(each["kg_co2"]),
                _share(each["coverage"]),
                _share(each["estimated_share"]),
            )
        return table

    def _standing(self) -> list[Mapping[str, Any]]:
        return [alarm for alarm in self._before.alarms if alarm["state"] != "normal"]

    def _alarms(self) -> RenderableType:
        standing = self._standing()
        if not standing:
            return Text("No alarm", style="green")
        table = Table("Alarm", "Meter", "State", "Value", title="Alarms", title_justify="left")
        for alarm in standing:
            table.add_row(alarm["name"], alarm["meter"], alarm["state"], _number(alarm["value"]))
        return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
