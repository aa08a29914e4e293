"""Raw readings to interval tables: the loop that keeps every tier a function of the readings alone.

Ingest marks, in the transaction that stores readings, which minutes they touch. A pass of the loop takes marks, reads
the raw samples around them, computes the minutes with `emsd.energy`, builds quarter hours and local days from them,
and deletes the marks, all in one transaction. Late, repeated and reordered data and a crash at any point therefore end
in the same tables.

    accounts    how one meter's samples become energy, from the plant and its profiles
    runs        which minutes to compute and how far around them to read; pure
    gather      reading the samples for that, and no more than it must
    loop        the passes
"""

from emsd.accounting.accounts import MeterAccount, accounts_of
from emsd.accounting.loop import Accounting, AccountingStats

__all__ = ["Accounting", "AccountingStats", "MeterAccount", "accounts_of"]
