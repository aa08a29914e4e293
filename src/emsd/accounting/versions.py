"""The rules of each meter as a version, so that every interval can say what made it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import structlog

from emsd.accounting.accounts import MeterAccount
from emsd.store.pool import Session
from emsd.store.versions import latest_versions, register_versions

__all__ = ["CODE_VERSION", "VersionBook", "differences", "fingerprint", "rules_of"]

_log = structlog.get_logger(__name__)

CODE_VERSION: Final = 1
"""Version of the arithmetic in `emsd.energy` and here: one more whenever the same readings, events and rules give other
intervals than before."""

_NO_RULES: Final = frozenset({"meter_id", "poll_interval_s"})
"""Fields of an account that change no figure: who it is, and how far to look for samples at first."""


def rules_of(account: MeterAccount) -> dict[str, Any]:
    """Return what decides how readings of a meter become energy, as JSON has it."""
    rules = {name: value for name, value in dataclasses.asdict(account).items() if name not in _NO_RULES}
    readable: dict[str, Any] = json.loads(json.dumps(rules, default=str, sort_keys=True))
    return readable


def fingerprint(account: MeterAccount, code_version: int = CODE_VERSION) -> str:
    """Return 16 hexadecimal digits that differ whenever rules or arithmetic do."""
    written = json.dumps([code_version, rules_of(account)], sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


class VersionBook:
    """Knows the version of each account, and records one that is new; forget it when its transaction rolls back."""

    def __init__(self, accounts: Mapping[int, MeterAccount]) -> None:
        self._accounts = accounts
        self._known: dict[int, int] = {}

    async def of(self, connection: Session, meter_ids: Iterable[int]) -> Mapping[int, int]:
        """Return at least the versions of these meters; those without an account have none."""
        asked = [each for each in meter_ids if each in self._accounts and each not in self._known]
        if not asked:
            return self._known
        latest = await latest_versions(connection, asked)
        changed: dict[int, tuple[str, Mapping[str, Any]]] = {}
        for meter_id in asked:
            account = self._accounts[meter_id]
            mark = fingerprint(account)
            before = latest.get(meter_id)
            if before is not None and before.fingerprint == mark:
                self._known[meter_id] = before.version_id
                continue
            changed[meter_id] = mark, rules_of(account)
            if before is not None:
                _log.warning(
                    "accounting_rules_changed",
                    meter=meter_id,
                    changes=differences(before.rules, rules_of(account)),
                    history="as the rules before have made it",
                    cure="emsd recompute brings history under the new rules; emsd recompute --list shows it",
                )
        if changed:
            self._known |= await register_versions(connection, CODE_VERSION, changed)
        return self._known


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Return each rule that differs, with both values; "arithmetic" when none does, for then that is what differs."""
    old, new = dict(_flat(before)), dict(_flat(now))
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return {name: f"{old.get(name)} -> {new.get(name)}" for name in names} or {"arithmetic": f"version {CODE_VERSION}"}


def _flat(rules: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in rules.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
