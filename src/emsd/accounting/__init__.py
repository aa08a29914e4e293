"""Raw readings to interval tables: the loop that keeps every tier a function of the readings alone.

Ingest marks, in the transaction that stores readings, which minutes they touch. A pass of the loop takes marks, reads
the raw samples around them, computes the minutes with `emsd.energy`, builds quarter hours and local days from them,
and deletes the marks, all in one transaction. Late, repeated and reordered data and a crash at any point therefore end
in the same tables.

    accounts    how one meter's samples become energy, from the plant and its profiles
    runs        which minutes to compute and how far around them to read; pure
    gather      reading the samples for that, and no more than it must
    minutes     computing and writing them, those that are marked and those of a range
    versions    the rules of a meter as a number that every interval carries
    gauges      extremes and mean of process gauges
    recomputing what is to be computed anew, in pieces; pure
    request     asking for that, following it, and what it has changed
    retention   what is old enough is dropped, once an hour
    loop        the passes
    of_plant    all of it for a plant, with virtual meters and estimates of long gaps
"""

from emsd.accounting.accounts import MeterAccount, accounts_of
from emsd.accounting.gauges import gauges_of
from emsd.accounting.loop import Accounting, AccountingStats, AfterPass
from emsd.accounting.of_plant import PlantAccounting
from emsd.accounting.retention import Retention, RetentionDays, RetentionStats

__all__ = [
    "Accounting",
    "AccountingStats",
    "AfterPass",
    "MeterAccount",
    "PlantAccounting",
    "Retention",
    "RetentionDays",
    "RetentionStats",
    "accounts_of",
    "gauges_of",
]
