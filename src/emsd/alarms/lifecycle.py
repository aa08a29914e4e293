"""The life of an alarm as a table (ISA-18.2-2016 / IEC 62682, state transition diagram; states A, B, C and D).

                       occur
      +--------+ ----------------> +----------------+
      | normal |                   | unacknowledged | <---------+
      +--------+                   +----------------+           |
        ^    ^                       |            |             |
        |    |           acknowledge |            | return      | reoccur
        |    |                       v            v             |
        |    |  return   +--------------+     +-------------------------+
        |    +---------- | acknowledged |     | returned_unacknowledged |
        |                +--------------+     +-------------------------+
        |                       acknowledge                |
        +--------------------------------------------------+

Every pair of a state and an event stands in exactly one of three tables: it is a transition, it changes nothing, or it
is refused. Latching, shelving and suppression by design are further states: rows to add, nothing to rewrite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from emsd.errors import AlarmRefused

__all__ = [
    "NO_CHANGE",
    "REFUSED",
    "STANDING",
    "TRANSITIONS",
    "AlarmState",
    "Event",
    "Step",
    "Transition",
    "advance",
]


class AlarmState(StrEnum):
    """Where an alarm is in its life."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    """The condition holds and nobody has seen it."""
    ACKNOWLEDGED = "acknowledged"
    """The condition holds and a person knows."""
    RETURNED_UNACKNOWLEDGED = "returned_unacknowledged"
    """The condition is over, but nobody has seen that it held."""


class Event(StrEnum):
    """What can happen to an alarm."""

    OCCUR = "occur"
    """Its condition began to hold."""
    RETURN = "return"
    """Its condition ended."""
    ACKNOWLEDGE = "acknowledge"
    """A person said: I have seen it."""


class Step(StrEnum):
    """What the journal calls a transition."""

    OCCUR = "occur"
    ACKNOWLEDGE = "acknowledge"
    RETURN = "return"
    REOCCUR = "reoccur"


@dataclass(frozen=True, slots=True)
class Transition:
    """One step from a state to another."""

    step: Step
    from_state: AlarmState
    to_state: AlarmState


STANDING: Final = frozenset({AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED})
"""States in which the condition holds."""

_STEPS: Final = (
    (AlarmState.NORMAL, Event.OCCUR, Step.OCCUR, AlarmState.UNACKNOWLEDGED),
    (AlarmState.UNACKNOWLEDGED, Event.ACKNOWLEDGE, Step.ACKNOWLEDGE, AlarmState.ACKNOWLEDGED),
    (AlarmState.UNACKNOWLEDGED, Event.RETURN, Step.RETURN, AlarmState.RETURNED_UNACKNOWLEDGED),
    (AlarmState.ACKNOWLEDGED, Event.RETURN, Step.RETURN, AlarmState.NORMAL),
    (AlarmState.RETURNED_UNACKNOWLEDGED, Event.ACKNOWLEDGE, Step.ACKNOWLEDGE, AlarmState.NORMAL),
    (AlarmState.RETURNED_UNACKNOWLEDGED, Event.OCCUR, Step.REOCCUR, AlarmState.UNACKNOWLEDGED),
)

TRANSITIONS: Final[Mapping[tuple[AlarmState, Event], Transition]] = MappingProxyType(
    {(state, event): Transition(step, state, target) for state, event, step, target in _STEPS}
)

# The condition is what the state already says. So an event that is applied twice, because the answer to its commit was
# lost, is one transition.
NO_CHANGE: Final = frozenset(
    {
        (AlarmState.NORMAL, Event.RETURN),
        (AlarmState.UNACKNOWLEDGED, Event.OCCUR),
        (AlarmState.ACKNOWLEDGED, Event.OCCUR),
        (AlarmState.RETURNED_UNACKNOWLEDGED, Event.RETURN),
    }
)

REFUSED: Final[Mapping[tuple[AlarmState, Event], str]] = MappingProxyType(
    {
        (AlarmState.NORMAL, Event.ACKNOWLEDGE): "it is normal, so there is nothing to acknowledge",
        (AlarmState.ACKNOWLEDGED, Event.ACKNOWLEDGE): "it has been acknowledged already",
    }
)


def advance(state: AlarmState, event: Event) -> Transition | None:
    """Return the transition that `event` causes in `state`, or None when the state already says so.

    Raises:
        AlarmRefused: the life cycle does not allow it; the text says why.
    """
    reason = REFUSED.get((state, event))
    if reason is not None:
        raise AlarmRefused(reason)
    return TRANSITIONS.get((state, event))
