"""Starts a script of this folder as the ranks of one process group."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.helpers import ROOT

SECONDS = 240
"""Long enough for the starts of Python on a busy machine; the ranks wait for one another for a minute at most."""

SHARDS_ON_A_CPU = hasattr(torch.cpu.current_stream(), "record_event")
"""Whether `fully_shard` runs on a CPU: that of torch 2.6 asks a CPU's stream for what it lacks."""

shards_on_a_cpu = pytest.mark.skipif(not SHARDS_ON_A_CPU, reason="fully_shard of this torch does not run on a CPU")


def outcomes(script, ranks, folder, *more):
    """What each rank wrote into the folder, by rank, once `SCRIPT RANK MORE FOLDER` has ended well on all."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, ROOT / "tests/helpers/ranks" / script, str(rank), *more, folder],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(ranks)
    ]
    try:
        errors = [process.communicate(timeout=SECONDS)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, error in zip(processes, errors, strict=True):
        assert process.returncode == 0, error
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]
