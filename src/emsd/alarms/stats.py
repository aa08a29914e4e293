"""Counts of everything that happens to alarms and notifications, for the metrics page."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AlarmStats"]


@dataclass(slots=True)
class AlarmStats:
    """Totals since the process began, except `queue_depth` and `standing`, which are of now.

    The engine and the outbox write them.
    """

    raised: int = 0
    """Transitions occur and reoccur that were persisted."""
    returned: int = 0
    standing: int = 0
    """Conditions that hold now."""
    queue_depth: int = 0
    """Transitions that wait for the database."""
    transitions_coalesced: int = 0
    """Transitions of chattering alarms that were merged away because the database was away too long."""
    transitions_lost: int = 0
    """Transitions that the database will never take; each is logged as an error."""
    notifications_sent: int = 0
    notifications_retried: int = 0
    """Definite failures that will be tried again."""
    notifications_failed: int = 0
    """Given up: too many definite failures, or one that trying again cannot cure."""
    notifications_unknown: int = 0
    """Given up because nobody knows whether it arrived, and nobody is told twice."""
