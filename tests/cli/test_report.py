import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.digit_runs import train

COMMAND = str(Path(sys.executable).with_name("rra-monitor"))


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "a0", digits, 0, views=("full", "avg-global"))


class TestReport:
    def test_a_directory_of_runs_is_taken_whole(self, run, tmp_path):
        out = tmp_path / "r.html"
        ended = subprocess.run(
            [COMMAND, "report", str(Path(run).parent), "--out", str(out)], capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        assert "MB, one file, works offline" in ended.stdout
        assert "RRA report: a0<" in out.read_text()

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ([], "name the directory of a run"),
            (["no/such"], "there is no run at no/such"),
            (["--group", "runs"], "expected NAME=GLOB"),
            (["--group", "A=no/*"], "matches no directory"),
        ],
    )
    def test_errors_are_one_sentence(self, arguments, text, tmp_path):
        ended = subprocess.run([COMMAND, "report", *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert ended.returncode != 0
        assert text in ended.stderr
        assert "Traceback" not in ended.stderr
        assert not os.listdir(tmp_path)
