from rra_monitor.utils.attributes import preserved_attributes


class Counter:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        self.seen = True

    def count(self):
        self()


def test_attributes_of_an_object_and_of_the_object_of_a_method_are_as_before():
    counter, other = Counter(), Counter()
    with preserved_attributes(counter, other.count, None):
        counter()
        other.count()
        assert (counter.calls, other.calls) == (1, 1)
    assert vars(counter) == vars(other) == {"calls": 0}


def test_variables_around_a_function_are_as_before():
    calls = 0

    def count():
        nonlocal calls
        calls += 1

    with preserved_attributes(count):
        count()
    assert calls == 0
