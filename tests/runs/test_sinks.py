import warnings

import pytest

from rra_monitor.runs.sinks import FanOut


class Collected:
    def __init__(self):
        self.records = []

    def write(self, record):
        self.records.append(record)


def test_fan_out_reports_a_failing_sink_once_and_goes_on_with_the_others():
    class Broken:
        def write(self, record):
            raise OSError("disk full")

    collected = Collected()
    sinks = FanOut([Broken(), collected])
    with pytest.warns(UserWarning, match="Broken failed .*disk full"):
        sinks.write("first")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sinks.write("second")
    assert collected.records == ["first", "second"]
