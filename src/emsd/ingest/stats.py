"""The pipeline's counters at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field

from emsd.ingest.ages import AgeHistogram

__all__ = ["PipelineStats", "SpoolStats"]


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """The spool at one moment; counts are since it was opened."""

    available: bool
    """False from a call that its disk refused until the next that succeeds."""
    readings: int
    batches: int
    bytes: int
    """What its files take of the disk, those set aside excepted."""
    oldest_age_s: float
    """How long the oldest batch has been there [s]; 0 when there is none."""
    saved_readings: int
    """Readings that went to the spool because the database did not take them in time."""
    drained_readings: int
    """Readings that went from the spool to the database."""
    dropped_readings: int
    """Readings that were given up because the bound was reached; they are among the lost."""
    recovered_readings: int
    """Readings that an earlier process had left there."""


@dataclass(frozen=True, slots=True)
class PipelineStats:
    """The pipeline at one moment; counts are since it was made.

    Always `accepted + recovered = stored + merged + quarantined + lost + refused + depth + in_spool`.
    """

    accepted: int
    stored: int
    """Readings that became rows."""
    merged: int
    """Readings whose meter and instant had a row already."""
    quarantined: int
    """Readings that can never be stored, kept with their reason."""
    lost: int
    """Readings that were given up; by meter and time in the table `reading_loss`."""
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
    in_spool: int = 0
    """Readings held on disk now."""
    recovered: int = 0
    """Readings that an earlier process had left in the spool."""
    spool: SpoolStats | None = None
    commit_age: AgeHistogram = field(default_factory=AgeHistogram)
    """Time from the arrival of a reading until its commit; what went through the spool is not in it."""
