"""benchmarks/gpu.py at tiny size, so that no line of it rots on machines without a GPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu_lines.bench import Bench, Row
from benchmarks.gpu_lines.report import report

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """What `--tiny` printed, found and logged."""
    out = tmp_path_factory.mktemp("gpu") / "gpu.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--tiny", "--out", str(out)]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout, json.loads(out.read_text()), out.with_suffix(".log").read_text()


@pytest.mark.slow
def test_every_line_of_the_gpu_benchmark_runs_at_tiny_size(done):
    _, found, log = done
    assert log == "", log
    assert [row["line"] for row in found["rows"] if row["met"] is False] == []
    assert list(dict.fromkeys(row["name"] for row in found["rows"])) == found["lines"]
    assert len(found["lines"]) >= 14


@pytest.mark.slow
def test_the_table_of_the_gpu_benchmark_comes_last_and_names_the_device(done):
    printed, found, _ = done
    last = printed.splitlines()[-len(found["rows"]) - 2 :]
    assert last[-1].startswith(found["device"])
    for row in found["rows"]:
        assert any(line.startswith(row["line"]) and row["measured"] in line for line in last), row["line"]


def test_a_line_of_the_gpu_benchmark_that_fails_is_a_row_and_the_others_go_on(tmp_path):
    def failing(bench):
        yield Row("before", "1")
        raise RuntimeError("out of\nluck")

    out = tmp_path / "gpu.json"
    lines = {"one": failing, "two": lambda bench: iter([Row("after", "2")])}
    found = report(lines, Bench(torch.device("cpu"), tiny=True), "a card", out)
    assert json.loads(out.read_text()) == found
    assert [row["line"] for row in found["rows"]] == ["before", "one: failed", "after"]
    assert (found["rows"][1]["measured"], found["rows"][1]["met"]) == ("RuntimeError: out of luck", False)
    assert "in failing" in out.with_suffix(".log").read_text()


def test_the_gpu_benchmark_keeps_its_rows_when_it_is_stopped(tmp_path):
    def stopped(bench):
        yield Row("before", "1")
        raise KeyboardInterrupt

    out = tmp_path / "gpu.json"
    with pytest.raises(KeyboardInterrupt):
        report({"one": stopped}, Bench(torch.device("cpu"), tiny=True), "a card", out)
    assert [row["line"] for row in json.loads(out.read_text())["rows"]] == ["before"]
