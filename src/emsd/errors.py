"""Every error that emsd raises on purpose.

    EmsdError                       something emsd can say in one sentence, with its cure
    +-- ConfigurationError          what a person wrote is wrong; nothing was started
    |   +-- PlantError              one or more Faults in plant.yaml, a CSV list or a profile
    |   `-- SettingsError           an environment variable or command-line option is wrong
    +-- ServerError                 a private server could not be installed, started or stopped
    |   `-- UnsupportedMachine      this machine cannot run the private servers; says what to use instead
    +-- StoreError                  the database said no
    |   +-- StoreUnavailable        it cannot be reached now; trying again later is right
    |   +-- MigrationError          the schema is not what this version needs, or an applied file was edited
    |   `-- BadRow                  one row can never be stored, however often it is tried
    +-- CollectError                a device or broker did not give a usable answer
    |   +-- Unreachable             no connection to the endpoint
    |   +-- NoReply                 connected, but no answer in time
    |   +-- DeviceException         the device answered with a Modbus exception code
    |   +-- Mismatch                an answer came that cannot belong to the request
    |   +-- WrongDevice             another device answers than the plant's description or the profile says
    |   `-- BadPayload              an MQTT message that no mapping of its meter accepts
    +-- AlarmError
    |   +-- UnknownAlarm            there is no alarm of that number
    |   `-- AlarmRefused            the life cycle of an alarm does not allow this step in its present state
    +-- EventRefused                the ledger of meter events does not take this event
    +-- LedgerError
    |   +-- UnknownEntry            there is no such certificate, activity or statement
    |   `-- LedgerRefused           the carbon ledger does not allow it: used twice, not valid, made meanwhile
    +-- IngestError
    |   +-- NotDurable              a reading could not be made durable, so its message must not be acknowledged
    |   +-- SpoolUnavailable        the spool takes nothing now (disk full, read-only, I/O error); tried again later
    |   +-- SpoolDamaged            a file of the spool is not what it was; what can be read of it is salvaged
    |   `-- SpoolInUse              another process has this spool
    +-- UnknownProduct              a production count names a product or stage that is not configured
    +-- ExportError                 a table could not be written
    |   `-- FormatUnavailable       this installation cannot write this format
    `-- NotifyError                 an on-call target did not take a notification; `.recoverable`: try again?
        `-- DeliveryUnknown         nobody knows whether it has it, so it must not be sent again

Errors of programming (a wrong type, an impossible state) are Python's own exceptions and are not caught.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "AlarmError",
    "AlarmRefused",
    "BadPayload",
    "BadRow",
    "CollectError",
    "ConfigurationError",
    "DeliveryUnknown",
    "DeviceException",
    "EmsdError",
    "ExportError",
    "EventRefused",
    "Fault",
    "FormatUnavailable",
    "IngestError",
    "LedgerError",
    "LedgerRefused",
    "MigrationError",
    "Mismatch",
    "NoReply",
    "NotDurable",
    "NotifyError",
    "PlantError",
    "ServerError",
    "SettingsError",
    "SpoolDamaged",
    "SpoolInUse",
    "SpoolUnavailable",
    "StoreError",
    "StoreUnavailable",
    "UnknownAlarm",
    "UnknownEntry",
    "UnknownProduct",
    "Unreachable",
    "UnsupportedMachine",
    "WrongDevice",
]


class EmsdError(Exception):
    """Root of the tree; its text is one sentence that a person can act on."""


class ConfigurationError(EmsdError):
    """What a person wrote is wrong; nothing was started."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a configuration file.

    `file` and `line` (1-based, None when the file as a whole is meant) say where, `field` is the path inside the
    document (`meters[3].unit_id`), `problem` what is wrong with the value found there, `cure` what to write instead.
    """

    file: str
    line: int | None
    field: str
    problem: str
    cure: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        what = f"{self.field} {self.problem}".strip()
        return f"{place}: {what}" + (f"; {self.cure}" if self.cure else "")


class PlantError(ConfigurationError):
    """All faults found in a plant's files, in order of file and line."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class SettingsError(ConfigurationError):
    """An environment variable or an option is wrong."""


class ServerError(EmsdError):
    """A private server could not be installed, started or stopped."""


class UnsupportedMachine(ServerError):
    """This machine cannot run the private servers; the text names docker compose and EMSD_DATABASE_URL."""


class StoreError(EmsdError):
    """The database refused."""


class StoreUnavailable(StoreError):
    """The database cannot be reached now; the same call may succeed later."""


class MigrationError(StoreError):
    """The schema is newer than this version, or an applied migration file was edited."""


class BadRow(StoreError):
    """One row can never be stored, however often it is tried."""


class CollectError(EmsdError):
    """A device or a broker did not give a usable answer."""


class Unreachable(CollectError):
    """There is no connection to the endpoint."""


class NoReply(CollectError):
    """Connected, but no answer came in time."""


class DeviceException(CollectError):
    """The device answered with a Modbus exception.

    `code` is the exception code of the Modbus application protocol V1.1b3, section 7 (2 = illegal data address).
    """

    def __init__(self, message: str, code: int) -> None:
        self.code = code
        super().__init__(message)


class Mismatch(CollectError):
    """An answer came that cannot belong to the request: wrong transaction, unit, function or length."""


class WrongDevice(CollectError):
    """Another device answers than the plant's description or the profile says; none of its values is taken."""


class BadPayload(CollectError):
    """An MQTT message that no mapping of its meter accepts."""


class AlarmError(EmsdError):
    """A person asked something of an alarm that cannot be done."""


class UnknownAlarm(AlarmError):
    """There is no alarm of that number."""


class AlarmRefused(AlarmError):
    """The life cycle of an alarm does not allow this step in its present state."""


class EventRefused(EmsdError):
    """The ledger of meter events does not take this event; nothing was written."""


class LedgerError(EmsdError):
    """A person asked something of the carbon ledger that cannot be done."""


class UnknownEntry(LedgerError):
    """There is no such certificate, activity or statement."""


class LedgerRefused(LedgerError):
    """The carbon ledger does not allow it: used twice, not valid any more, or changed meanwhile."""


class IngestError(EmsdError):
    """A reading could not take its way in."""


class NotDurable(IngestError):
    """A reading could not be made durable, so the message that carried it must not be acknowledged."""


class SpoolUnavailable(IngestError):
    """The spool takes nothing now: its disk is full, read-only or fails; the same call may succeed later."""


class SpoolDamaged(IngestError):
    """The spool's file at `path` is not what it was; what can be read of it is salvaged, the rest is counted."""

    def __init__(self, message: str, path: Path) -> None:
        self.path = path
        super().__init__(message)


class SpoolInUse(IngestError):
    """Another process has this spool; two would lose each other's readings."""


class UnknownProduct(EmsdError):
    """A production count names a product that is not configured, or a stage that it does not pass."""


class ExportError(EmsdError):
    """A table could not be written; no part of it stands where the whole was to be."""


class FormatUnavailable(ExportError):
    """This installation cannot write this format; the text says what to install."""


class NotifyError(EmsdError):
    """An on-call target did not take a notification."""

    def __init__(self, message: str, *, recoverable: bool) -> None:
        self.recoverable = recoverable
        super().__init__(message)


class DeliveryUnknown(NotifyError):
    """Nobody knows whether the target has the notification; sending it again could call a person twice."""

    def __init__(self, message: str) -> None:
        super().__init__(message, recoverable=False)
