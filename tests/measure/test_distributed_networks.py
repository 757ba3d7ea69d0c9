"""A network that is trained by several processes, measured by one of them."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT

SECONDS = 240
"""Long enough for two starts of Python on a busy machine; the ranks wait for one another for a minute at most."""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each rank found, by rank."""
    folder = tmp_path_factory.mktemp("measuring")
    script = ROOT / "tests/helpers/ranks/measuring_ranks.py"
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(rank), folder],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=SECONDS)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, error in zip(processes, errors, strict=True):
        assert process.returncode == 0, error
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


LAYERS = {
    "alone": ["input", "2", "4"],
    "by the names in the wrapper": ["0", "4"],
    "by a forward of ones own": ["1#1", "1#2"],
    "as parts of a network": ["first.module.1"],
}


@pytest.mark.parametrize("way", LAYERS)
def test_rank_zero_measures_alone_and_names_the_layers_of_the_network(ranks, way):
    assert ranks[0][way] == LAYERS[way]
    assert ranks[0][f"{way}, weights"] == ranks[1][f"{way}, weights"]
