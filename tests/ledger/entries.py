"""What is entered into a ledger in tests: a certificate, a retirement, a process gas."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from emsd.energy.ledger import Activity
from emsd.store.certificate_journal import NewEvent
from emsd.store.certificates import NewInstrument, valid_until
from tests.ledger.conftest import BERLIN_2026, NOW

BEGIN, END = BERLIN_2026


def certificate(serial: str = "GEC-1", mwh: str = "500", **facts: Any) -> NewInstrument:
    known: dict[str, Any] = {
        "registry": "registry", "kind": "gec", "own_pv": False, "energy_source": "wind", "kg_per_kwh": Decimal(0),
        "produced_from": BEGIN, "produced_to": END, "valid_to": valid_until("gec", END), "document": "trade 1",
        "author": "l.wei",
    }  # fmt: skip
    return NewInstrument(serial=serial, energy_mwh=Decimal(mwh), **(known | facts))


def retirement(number: int, mwh: str, **facts: Any) -> NewEvent:
    known: dict[str, Any] = {
        "kind": "retire", "happened_at": NOW, "document": "retirement 1", "author": "l.wei", "period_from": BEGIN,
        "period_to": END,
    }  # fmt: skip
    return NewEvent(instrument_id=number, energy_mwh=Decimal(mwh), **(known | facts))


def nf3(amount: str = "1000", **facts: Any) -> Activity:
    known: dict[str, Any] = {
        "reference": "NF3-2026", "version": 1, "kind": "process_gas", "substance": "NF3",
        "process": "chamber_clean_remote", "period_from": BEGIN, "period_to": END, "amount": amount, "unit": "kg",
        "area": "fab", "document": "gas store", "author": "l.wei",
    }  # fmt: skip
    return Activity(**(known | facts))
