"""The queue holds no more than its bound, gives up only what was polled, oldest first, and every loss is counted."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from emsd.ingest.losses import LossLedger
from emsd.ingest.queue import ReadingQueue
from emsd.readings import Reading, columns
from emsd.store.loss import Loss

NONE = columns()


def reading(number: int, meter_id: int = 1) -> Reading:
    return Reading(number, meter_id, NONE, ())


@given(
    capacity=st.integers(1, 8),
    steps=st.lists(st.sampled_from(["offer", "put", "take", "done", "put_back"]), max_size=60),
)
def test_nothing_appears_or_vanishes_and_only_the_oldest_polled_is_given_up(capacity: int, steps: list[str]) -> None:
    queue = ReadingQueue(capacity)
    waiting: deque[tuple[str, int]] = deque()
    in_hand: list[tuple[str, int]] = []
    for number, step in enumerate(steps):
        if step == "offer":
            lost = queue.offer(reading(number), float(number))
            waiting.append(("offer", number))
            if len(waiting) + len(in_hand) > capacity:
                oldest = next(each for each in waiting if each[0] == "offer")
                waiting.remove(oldest)
                assert lost is not None
                assert lost.time_us == oldest[1]
            else:
                assert lost is None
        elif step == "put" and not queue.full:
            queue.put(reading(number), float(number), lambda _refusal: None)
            waiting.append(("put", number))
        elif step == "take" and not in_hand:
            taken = [each.time_us for each in queue.take(3).readings]
            in_hand = [waiting.popleft() for _ in range(min(3, len(waiting)))]
            assert taken == [each[1] for each in in_hand], "first in, first out over both kinds"
        elif step == "done":
            queue.done()
            in_hand = []
        elif step == "put_back":
            queue.put_back()
            waiting.extendleft(reversed(in_hand))
            in_hand = []
        assert queue.depth == len(waiting) + len(in_hand) <= capacity
        assert len(queue) == len(waiting)
        assert queue.oldest_arrival_s() == min((float(each[1]) for each in (*waiting, *in_hand)), default=None)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 100), st.sampled_from(["full", "stopped"]))))
def test_losses_add_up_by_meter_and_reason_whenever_they_are_written(lost: list[tuple[int, int, str]]) -> None:
    ledger = LossLedger()
    written: list[Loss] = []
    for place, (meter_id, time_us, reason) in enumerate(lost):
        ledger.add(reading(time_us, meter_id), reason)
        if place % 3 == 0:
            record = ledger.record(place)
            if place % 2 == 0:
                written += record.losses
                ledger.written()
            else:
                ledger.add(reading(time_us, meter_id), reason)
                assert ledger.record(place + 1) == record, "a record that may be in the database does not change"
    total: Counter[tuple[int, str]] = Counter()
    for loss in (*written, *ledger.pending()):
        total[loss.meter_id, loss.reason] += loss.readings
    expected = Counter((meter_id, reason) for meter_id, _, reason in lost)
    expected.update(
        (meter_id, reason) for place, (meter_id, _, reason) in enumerate(lost) if place % 3 == 0 and place % 2
    )
    assert total == expected
    assert ledger.readings == total.total()
    assert bool(ledger) == bool(ledger.pending())


def test_a_loss_spans_from_its_earliest_to_its_latest_reading_even_when_a_clock_was_wrong() -> None:
    ledger = LossLedger()
    for time_us in (50, 10, 70, -5, 10**30):
        ledger.add(reading(time_us), "full")
    assert ledger.pending() == (Loss(1, 5, 0, 253_402_300_799_999_999, "full"),)
