"""The carbon ledger: Scope 1 and 2 of one site and period, and the statement that freezes them.

All of it is pure functions.

quarter hours --slots--> LedgerInputs --compute--> LedgerResults --statement--> canonical JSON, SHA-256

activities.resolve      what a person entered -> gases with every number and its source
matching.match          which certificate covers which use
scope2.scope2           location-based and market-based, slot by slot
changes                 what differs between two ledgers
"""

from emsd.energy.ledger.activities import Activity, ActivityKind, ResolvedActivity, check_activity, resolve
from emsd.energy.ledger.changes import Change, input_changes, result_changes
from emsd.energy.ledger.compute import compute
from emsd.energy.ledger.gwp import GWP_SETS, GwpSet, gwp100
from emsd.energy.ledger.inputs import Instrument, LedgerInputs, Matching
from emsd.energy.ledger.results import Figures, LedgerResults
from emsd.energy.ledger.statement import Restatement, Statement, make_statement, read_statement, recomputes, sha256_of

__all__ = [
    "GWP_SETS",
    "Activity",
    "ActivityKind",
    "Change",
    "Figures",
    "GwpSet",
    "Instrument",
    "LedgerInputs",
    "LedgerResults",
    "Matching",
    "ResolvedActivity",
    "Restatement",
    "Statement",
    "check_activity",
    "compute",
    "gwp100",
    "input_changes",
    "make_statement",
    "read_statement",
    "recomputes",
    "resolve",
    "result_changes",
    "sha256_of",
]
