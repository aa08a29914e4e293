"""The pipeline's counters at one moment."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PipelineStats"]


@dataclass(frozen=True, slots=True)
class PipelineStats:
    """The pipeline at one moment; counts are since it was made.

    Always `accepted = stored + merged + quarantined + lost + refused + depth`.
    """

    accepted: int
    stored: int
    """Readings that became rows."""
    merged: int
    """Readings whose meter and instant had a row already."""
    quarantined: int
    """Readings that can never be stored, kept with their reason."""
    lost: int
    """Polled readings that were given up; by meter and time in the table `reading_loss`."""
    refused: int
    """Awaited readings handed back as not durable, because the service stopped first."""
    poisoned: int
    """Messages that can never become readings, kept with their reason."""
    batches: int
    failures: int
    """Attempts to write that the database refused or did not answer."""
    write_seconds: float
    """Time spent in writing batches that were stored, waiting for the database included [s]."""
    last_commit_us: int | None
    """When a batch was last committed, in microseconds since the epoch."""
    lag_s: float
    """How long the oldest reading that is not stored has waited [s]; 0 when none waits."""
    depth: int
    """Readings held in memory now."""
    capacity: int
    database_up: bool
    """False from a failed attempt to write until the next that succeeds."""
