"""Which moments a schedule takes, by a clock that the test moves."""

from itertools import pairwise

import pytest

from rra_monitor.measure.schedule import Schedule


class Training:
    """A training of so many seconds between two moments, measured according to a schedule, by a clock of its own."""

    def __init__(self, moments, each, cost, first=None, before=0.0, expected=None, known=True, **options):
        self.now, self.moments, self.each, self.known = 0.0, moments, each, known
        self.costs = cost if callable(cost) else lambda moment: cost
        self.schedule = Schedule(clock=lambda: self.now, expected=expected, **options)
        with self.schedule.spending():
            self.now += before
            self.take(first if first is not None else self.costs(0))
        self.taken = [0]

    def take(self, seconds):
        with self.schedule.measuring():
            self.now += seconds

    def run(self):
        for moment in range(1, self.moments + 1):
            self.now += self.each(moment) if callable(self.each) else self.each
            done = moment / self.moments if self.known else None
            if self.schedule.due(moment, done) or moment == self.moments:
                self.take(self.costs(moment))
                self.taken.append(moment)
        return self.taken


def test_without_a_share_every_moment_that_is_asked_for_is_taken():
    schedule = Schedule(every=3)
    assert [step for step in range(10) if schedule.due(step)] == [3, 6, 9]


@pytest.mark.parametrize(
    ("each", "taken"),
    [(200, [*range(21)]), (90, [0, *range(2, 21, 2)]), (40, [0, 4, 8, 12, 16, 20]), (20, [0, 8, 16, 20]), (1, [0, 20])],
)
def test_the_interval_is_the_shortest_that_keeps_to_the_share(each, taken):
    training = Training(20, each, cost=10, max_overhead=0.1)
    assert training.run() == taken
    # Less could not be measured than the start and the end.
    assert training.schedule.overhead <= 0.1 or taken == [0, 20]


def test_moments_of_seeds_nest_whatever_their_speed():
    found = [Training(64, each, cost=1, max_overhead=0.05).run() for each in (1, 2, 3.3, 7, 11, 30)]
    for slower, faster in pairwise(found):
        assert set(slower) <= set(faster)


def test_the_interval_doubles_within_the_training_when_measuring_becomes_slower():
    training = Training(40, 100, cost=lambda moment: 1 if moment < 10 else 30, max_overhead=0.05)
    taken = training.run()
    assert taken[:12] == [*range(12)]
    gaps = [after - before for before, after in pairwise(taken[12:])]
    assert gaps == sorted(gaps)
    assert training.schedule.interval in (4, 8, 16)
    assert training.schedule.overhead <= 0.06


def test_a_first_measurement_that_compiles_does_not_count_as_the_next_ones_cost():
    assert len(Training(20, 100, cost=2, first=60, expected=3, max_overhead=0.1).run()) == 21
    assert len(Training(20, 100, cost=2, first=60, max_overhead=0.1).run()) < 21


def test_what_is_spent_at_the_start_counts_in_the_share():
    lavish = Training(20, 30, cost=2, before=40, max_overhead=0.1)
    assert len(lavish.run()) < len(Training(20, 30, cost=2, max_overhead=0.1).run())
    assert lavish.schedule.overhead <= 0.1


def test_a_training_without_a_known_end_keeps_to_the_share_in_the_long_run():
    training = Training(400, 10, cost=3, known=False, max_overhead=0.05)
    training.run()
    assert training.schedule.interval == 8
    assert 0.02 < training.schedule.overhead <= 0.05


def test_a_resumed_training_goes_on_with_its_interval():
    schedule = Schedule(max_overhead=0.5, interval=4)
    assert [step for step in range(5, 17) if schedule.due(step, 0.5)] == [8, 12, 16]


def test_time_is_counted_once_and_a_failed_measurement_tells_nothing_of_the_next():
    now = 0.0
    schedule = Schedule(clock=lambda: now)
    with schedule.spending(), schedule.spending():
        now = 2.0
        assert schedule.seconds == 2.0
    now = 8.0
    assert (schedule.seconds, schedule.overhead) == (2.0, 0.25)

    def fail():
        nonlocal now
        with schedule.measuring():
            now = 10.0
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        fail()
    assert (schedule.seconds, schedule.cost) == (4.0, None)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"every": 0}, ValueError, "every=0; expected 1 or more"),
        ({"interval": 0}, ValueError, "interval=0; expected 1 or more"),
        ({"max_overhead": 5}, ValueError, r"max_overhead=5; expected a fraction above 0 and below 1, such as 0.05"),
        ({"max_overhead": 0}, ValueError, "max_overhead=0; expected a fraction"),
        ({"max_overhead": float("nan")}, ValueError, "max_overhead=nan; expected a fraction"),
        ({"max_overhead": "5%"}, TypeError, "max_overhead='5%'; expected a fraction"),
        ({"max_overhead": True}, TypeError, "max_overhead=True; expected a fraction"),
    ],
)
def test_arguments_out_of_range_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        Schedule(**options)
