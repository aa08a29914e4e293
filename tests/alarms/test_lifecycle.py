from __future__ import annotations

from itertools import product

import pytest

from emsd.alarms.lifecycle import (
    NO_CHANGE,
    REFUSED,
    STANDING,
    TRANSITIONS,
    AlarmState,
    Event,
    Step,
    Transition,
    advance,
)
from emsd.errors import AlarmRefused


@pytest.mark.parametrize(("state", "event"), list(product(AlarmState, Event)))
def test_every_event_in_every_state_is_a_transition_or_changes_nothing_or_is_refused(
    state: AlarmState, event: Event
) -> None:
    pair = (state, event)
    assert [pair in TRANSITIONS, pair in NO_CHANGE, pair in REFUSED].count(True) == 1


@pytest.mark.parametrize(
    ("state", "event", "step", "target"),
    [
        (AlarmState.NORMAL, Event.OCCUR, Step.OCCUR, AlarmState.UNACKNOWLEDGED),
        (AlarmState.UNACKNOWLEDGED, Event.ACKNOWLEDGE, Step.ACKNOWLEDGE, AlarmState.ACKNOWLEDGED),
        (AlarmState.UNACKNOWLEDGED, Event.RETURN, Step.RETURN, AlarmState.RETURNED_UNACKNOWLEDGED),
        (AlarmState.ACKNOWLEDGED, Event.RETURN, Step.RETURN, AlarmState.NORMAL),
        (AlarmState.RETURNED_UNACKNOWLEDGED, Event.OCCUR, Step.REOCCUR, AlarmState.UNACKNOWLEDGED),
        (AlarmState.RETURNED_UNACKNOWLEDGED, Event.ACKNOWLEDGE, Step.ACKNOWLEDGE, AlarmState.NORMAL),
    ],
)
def test_the_transitions_are_those_of_isa_18_2(state: AlarmState, event: Event, step: Step, target: AlarmState) -> None:
    assert advance(state, event) == Transition(step, state, target)


@pytest.mark.parametrize(("state", "event"), sorted(NO_CHANGE))
def test_an_event_that_the_state_already_says_is_no_transition(state: AlarmState, event: Event) -> None:
    assert advance(state, event) is None


def test_acknowledging_a_normal_alarm_is_refused_with_the_reason() -> None:
    with pytest.raises(AlarmRefused, match="it is normal, so there is nothing to acknowledge"):
        advance(AlarmState.NORMAL, Event.ACKNOWLEDGE)


def test_acknowledging_twice_is_refused_with_the_reason() -> None:
    with pytest.raises(AlarmRefused, match="acknowledged already"):
        advance(AlarmState.ACKNOWLEDGED, Event.ACKNOWLEDGE)


@pytest.mark.parametrize("event", [Event.OCCUR, Event.RETURN])
@pytest.mark.parametrize("state", list(AlarmState))
def test_a_change_of_the_condition_applied_twice_is_one_transition(state: AlarmState, event: Event) -> None:
    first = advance(state, event)
    after = first.to_state if first else state
    assert advance(after, event) is None
    assert (after in STANDING) == (event is Event.OCCUR)
