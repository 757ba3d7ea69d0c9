import json
import subprocess
import sys

import pytest

from tests.helpers import ROOT
from tests.helpers.ranks.failing_ranks import STAGES

SCRIPT = ROOT / "tests" / "helpers" / "ranks" / "failing_ranks.py"


def two_ranks(folder, how):
    return [subprocess.Popen([sys.executable, SCRIPT, str(rank), folder, how]) for rank in range(2)]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failing")
    ranks = two_ranks(folder, "fails")
    try:
        assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("stage", STAGES)
def test_an_exception_of_one_rank_is_raised_on_all_without_waiting(found, stage):
    error = STAGES[stage][2]
    for rank, (text, cause, _, seconds) in enumerate(each[stage] for each in found):
        assert text.startswith(f"RankError: rank 1: {type(error).__name__}: ")
        assert text.endswith(str(error))
        assert cause == (type(error).__name__ if rank == 1 else "NoneType")
        assert seconds < 60  # the group's timeout is 300


@pytest.mark.parametrize("stage", STAGES)
def test_lack_of_memory_of_one_rank_is_known_as_such_on_all(found, stage):
    lacking = "Memory" in type(STAGES[stage][2]).__name__
    assert [each[stage][2] for each in found] == [lacking, lacking]


def test_the_group_works_after_failures(found):
    assert [each["afterwards"] for each in found] == [True, True]


@pytest.mark.parametrize("how", ["dies", "stops"])
def test_a_rank_that_dies_or_stops_ends_the_wait_of_the_others_within_the_timeout(tmp_path, how):
    ranks = two_ranks(tmp_path, how)
    try:
        assert ranks[0].wait(timeout=120) == 0
    finally:
        for rank in ranks:
            rank.kill()
    text, _, _, seconds = json.loads((tmp_path / "0.json").read_text())
    assert "RuntimeError" in text or "DistBackendError" in text or "Timeout" in text, text
    assert "RankError" not in text
    assert seconds < 30  # the group's timeout is 5
