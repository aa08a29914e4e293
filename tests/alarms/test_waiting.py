from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from emsd.alarms.lifecycle import Event
from emsd.alarms.rules import Change
from emsd.alarms.waiting import MOST_PER_ALARM, WaitingChanges

if TYPE_CHECKING:
    from tests.alarms.conftest import MakeRule


def alternating(count: int) -> list[Change]:
    return [Change(Event.RETURN if number % 2 else Event.OCCUR, number, None) for number in range(count)]


def drain(waiting: WaitingChanges) -> list[tuple[str, Change]]:
    taken: list[tuple[str, Change]] = []
    while (each := waiting.oldest()) is not None:
        taken.append((each.bound.rule_key, each.change))
        waiting.drop_oldest()
    return taken


def test_changes_of_all_alarms_leave_in_the_order_they_came(make_rule: MakeRule) -> None:
    waiting = WaitingChanges()
    rules = [make_rule(rule_key="a"), make_rule(rule_key="b")]
    put = [(rules[number % 2], change) for number, change in enumerate(alternating(10))]
    for rule, change in put:
        waiting.put(rule, change)
    assert drain(waiting) == [(rule.rule_key, change) for rule, change in put]
    assert waiting.coalesced == 0


def test_a_chattering_alarm_waits_bounded_alternating_and_ends_in_the_state_of_now(make_rule: MakeRule) -> None:
    waiting = WaitingChanges()
    chatter, calm = make_rule(rule_key="chatter"), make_rule(rule_key="calm")
    changes = alternating(1001)
    for change in changes:
        waiting.put(chatter, change)
        if change.time_us == 500:
            waiting.put(calm, change)
    assert len(waiting) <= MOST_PER_ALARM + 1
    left = drain(waiting)
    assert [change.time_us for key, change in left if key == "calm"] == [500]
    mine = [change for key, change in left if key == "chatter"]
    assert mine[0] == changes[0]
    assert mine[-1] == changes[-1]
    assert all(one.event is not other.event and one.time_us < other.time_us for one, other in pairwise(mine))
    assert waiting.coalesced + len(mine) == len(changes)


def test_room_is_there_again_after_changes_have_left(make_rule: MakeRule) -> None:
    waiting = WaitingChanges()
    rule = make_rule()
    for change in alternating(10 * MOST_PER_ALARM):
        waiting.put(rule, change)
        waiting.drop_oldest()
    assert waiting.coalesced == 0
    assert len(waiting) == 0
