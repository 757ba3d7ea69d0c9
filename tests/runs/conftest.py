"""A record with a previous snapshot, a reference and an undefined value."""

import numpy as np
import pytest

import rra_monitor as rra
from tests.helpers.snapshots import snapshot_of, stored_run


@pytest.fixture
def record(tmp_path):
    recorder = rra.Recorder(rra.RunStore(tmp_path / "run"), references={"seed0": stored_run(tmp_path / "ref", (0, 1))})
    recorder.record({"train": snapshot_of(0)})
    return recorder.record({"train": snapshot_of(1).changed(id=np.array([2.0, np.nan, 4.0]))})
