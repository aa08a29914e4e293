"""Faults over HTTP: told, added and removed while the simulator runs; routes of simulator.control."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from pydantic import AwareDatetime, BaseModel

from emsd.errors import ConfigurationError
from emsd.readings import instant_us, to_datetime
from simulator.fault_kinds import KINDS
from simulator.fault_record import FaultRecord
from simulator.fault_schedule import FaultEntry
from simulator.running import RunningSimulator

__all__ = ["router", "told"]

router = APIRouter()


class Added(BaseModel):
    """The number under which a fault was taken in."""

    number: int


Begin = Annotated[AwareDatetime | None, Query(alias="from", description="Only those in force then or later.")]
End = Annotated[AwareDatetime | None, Query(description="Only those that begin before; their energy ends there.")]


@router.get("/kinds")
async def kinds() -> list[dict[str, Any]]:
    """Return every kind of fault with its parameters."""
    return [_kind(name) for name in KINDS]


@router.get("/faults")
async def faults(simulator: RunningSimulator, from_: Begin = None, to: End = None) -> list[dict[str, Any]]:
    """Return the record of every fault, or of those in force in a window, by number."""
    begin_us = None if from_ is None else instant_us(from_)
    end_us = None if to is None else instant_us(to)
    return [told(record) for record in simulator.faults.list(begin_us, end_us)]


@router.post("/faults", status_code=HTTPStatus.CREATED)
async def add(simulator: RunningSimulator, entry: FaultEntry) -> Added:
    """Take a fault in, as a file's entry says it."""
    try:
        return Added(number=simulator.faults.add(entry.fault(simulator.truth, simulator.now_us())))
    except ConfigurationError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error


@router.delete("/faults/{number}", status_code=HTTPStatus.NO_CONTENT)
async def remove(simulator: RunningSimulator, number: int) -> None:
    """End a fault now; one that is still to come never happens."""
    try:
        simulator.faults.remove(number)
    except ConfigurationError as error:
        raise HTTPException(HTTPStatus.CONFLICT, str(error)) from error


@router.delete("/faults")
async def clear(simulator: RunningSimulator) -> dict[str, list[int]]:
    """End every fault that can end, and return their numbers."""
    return {"removed": list(simulator.faults.clear())}


def told(record: FaultRecord) -> dict[str, Any]:
    """Return a record as JSON has it: times as ISO 8601, energy in kWh."""
    fault = record.fault
    return {
        "number": record.number,
        "kind": fault.kind,
        "layer": fault.of_kind.layer.value,
        "meter": fault.meter,
        "connection": fault.connection,
        "from": _time(fault.from_us),
        "until": None if fault.until_us is None else _time(fault.until_us),
        "parameters": dict(fault.parameters),
        "seed": fault.seed,
        "state": record.state,
        "meters": list(record.meters),
        "hits": record.hits,
        "knowable": {key: each.value for key, each in record.knowable.items()},
        "energy": {
            key: {"import_kwh": each.import_kwh, "export_kwh": each.export_kwh} for key, each in record.energy.items()
        },
        "changes": [
            {
                "time": _time(each.time_us),
                "meter": each.meter,
                "quantity": each.quantity,
                "before": each.before,
                "after": each.after,
            }
            for each in record.changes
        ],
        "serials": {key: {"before": before, "after": after} for key, (before, after) in record.serials.items()},
    }


def _kind(name: str) -> dict[str, Any]:
    kind = KINDS[name]
    parameters = [
        {
            "name": each.name,
            "default": each.default,
            "unit": each.unit,
            "meaning": each.meaning,
            "words": list(each.words),
        }
        for each in kind.parameters
    ]
    return {
        "kind": name,
        "layer": kind.layer.value,
        "what": kind.what,
        "of_connection": kind.of_connection,
        "is_step": kind.is_step,
        "knowable": kind.knowable.value,
        "parameters": parameters,
    }


def _time(time_us: int) -> str:
    return to_datetime(time_us).isoformat().replace("+00:00", "Z")
