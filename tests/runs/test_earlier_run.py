"""A run that 0.1.0 stored, before files had a checksum: it opens everywhere, with the numbers that 0.1.0 found.

Beside the run lies what 0.1.0 made of it: `comparison.json`, by `write_tables(compare_runs({"old": ["run"]}), …)`,
and `payload.json`, by `run_payload(stored_series(RunStore("run"), "old"))`, both of them started in this folder.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.page.payload import run_payload
from rra_monitor.page.report import write_report
from rra_monitor.page.series import stored_series

GOLDEN = Path(__file__).parent / "golden"


def contains(new, old):
    """Whether everything that the older file says stands in the newer one, too."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(name in new and contains(new[name], value) for name, value in old.items())
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(contains, new, old))
    return new == old


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    """The run, by the name that it had."""
    shutil.copytree(GOLDEN / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return rra.RunStore("run")


def test_compare_runs_finds_the_numbers_of_an_earlier_version(earlier, tmp_path):
    comparison = rra.compare_runs({"old": ["run"]}, probe="train")
    rra.write_tables(comparison, tmp_path / "out", [rra.settling("run", "train")])
    new, old = (json.loads((folder / "comparison.json").read_text()) for folder in (tmp_path / "out", GOLDEN))
    assert contains(new, old)
    assert not contains(new, old | {"groups": [old["groups"][0] | {"n": 21}]})


def test_run_payload_of_an_earlier_run_is_the_same_but_for_names_of_entries(earlier, tmp_path):
    old = json.loads((GOLDEN / "payload.json").read_text())
    old["frames"] = old.pop("moments")
    for probe in old["probes"].values():
        levels = {name: probe.pop(f"{name}_chance") for name in ("nncs", "nnls")}
        probe["chances"] = {name: level for name, level in levels.items() if level is not None}
    series = stored_series(earlier, "old")
    new = json.loads(json.dumps(run_payload(series)))
    assert new.pop("titles")["curves"].keys() == old["probes"]["train"]["curves"].keys()
    # It has matrices that the page of that time did not show.
    assert [probe["matrices"].pop("cka")["rows"] for probe in new["probes"].values()] == [["input", "0", "4"]] * 2
    # Nor had it a choice of the estimator.
    assert [probe.pop("estimator") for probe in new["probes"].values()] == ["ml", "ml"]
    assert new == old
    assert write_report([series], tmp_path / "report.html").notes == ()


@pytest.mark.parametrize("probe", ["train", "val"])
def test_recorder_takes_an_earlier_run_as_a_reference(earlier, tmp_path, probe):
    snapshot = earlier.load(probe, 10)
    recorder = rra.Recorder(rra.RunStore(tmp_path / "new"), references={"old": "run"})
    match = recorder.record({probe: snapshot}).matches[probe]["ref-old"]
    assert (match.step, match.layers) == (10, snapshot.layers)
    np.testing.assert_array_equal(match.nnls, snapshot.nnls)
