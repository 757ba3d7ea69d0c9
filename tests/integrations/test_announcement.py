import re

import pytest

import rra_monitor.integrations.fit as fit_module
from rra_monitor.capture.layer import Layer
from rra_monitor.integrations.announcement import announcement, correction
from rra_monitor.integrations.lightning import RRACallback
from rra_monitor.measure.estimate import CostEstimate
from tests.helpers.training import fit


def said(passes=1, **options):
    plan = CostEstimate(
        layers=(Layer("input", "", 0, (3,)),),
        graphs=1,
        n=500,
        k=5,
        classes=10,
        passes=passes,
        seconds=12.4,
        graph_bytes=3_000_000,
        curve_bytes=40_000,
    )
    defaults = {
        "views": ("full",),
        "rhythm": "every epoch",
        "keep_graphs": "all",
        "path": "runs/a",
        "references": {},
        "remarks": [],
        "memory_budget": 4 << 30,
    }
    return announcement({"train": plan, "val": plan}, **(defaults | options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "each time about 25 s and 6.1 MB\n"),
        ({"averaged": True}, "each time about 50 s and 12.2 MB\n"),
        (
            {"rhythm": "every 100 steps", "max_overhead": 0.05},
            "  before training, every 100 steps and at the end, at most 5 % of the time; each time about 25 s",
        ),
        ({"path": None}, "each time about 25 s\n"),
        ({"keep_graphs": "last"}, "stored in runs/a; the last graphs are kept, 6.0 MB"),
        ({"keep_graphs": 3}, "stored in runs/a; the graphs of 3 snapshots are kept, 18.0 MB"),
        ({}, "network: 1 of train, 1 of val; beside them no more memory is taken than memory_budget=4 GiB\n"),
        (
            {"passes": 4},
            "4 of val; beside them no more memory is taken than memory_budget=4 GiB, and a larger one",
        ),
        ({"passes": 4, "averaged": True}, "network: 8 of train, 8 of val"),
    ],
)
def test_what_a_moment_costs_is_said(options, words):
    assert words in said(**options)


def test_a_moment_that_takes_far_longer_is_said():
    assert correction(6.0, 11.9) is None
    assert correction(0.1, 0.9) is None
    assert "took 12 s, with its loggers, not the announced 5.5 s" in correction(5.5, 12.0)


@pytest.mark.parametrize(("announced", "times"), [(-2.0, 1), (1e9, 0)])
def test_the_second_moment_is_compared_with_the_announcement_once(
    digits, tmp_path, sample, monkeypatch, announced, times
):
    texts = []
    monkeypatch.setattr(fit_module, "rank_zero_info", texts.append)
    monkeypatch.setattr(fit_module, "total", lambda *_: announced)
    fit(digits, tmp_path, [RRACallback({"train": sample})], 3, limit_train_batches=1, limit_val_batches=0)
    assert len([text for text in texts if re.match("RRA monitor: a moment took", text)]) == times
