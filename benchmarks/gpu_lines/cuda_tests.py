"""The tests that a GPU adds, as one line."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .bench import Bench, Row

ROOT = Path(__file__).parents[2]
LIMIT = 150
"""Seconds that the tests may take."""


def cuda_tests(bench: Bench) -> Iterator[Row]:
    if not bench.on_gpu:
        yield Row("pytest -m cuda", "needs a CUDA device", "no failure")
        return
    # Only files that hold such tests, since others need packages that a machine may lack.
    files = [str(path) for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.cuda" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "-n", "4", "-q", "-rf", "-p", "no:cacheprovider", *files]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT, cwd=ROOT, env=environment, check=False
        )
    except subprocess.TimeoutExpired as late:
        text = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        yield Row("pytest -m cuda", f"not over after {LIMIT} s", "no failure", False, details={"output": text[-4000:]})
        return
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["said nothing"]
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    words = f"{lines[-1].strip('= ')}" + (f": {', '.join(failed)}" if failed else "")
    output = done.stdout[-8000:] + done.stderr[-2000:] if done.returncode else ""
    met = done.returncode == 0 and re.search(r"\d passed", lines[-1]) is not None  # not if all were skipped
    yield Row("pytest -m cuda", words, "no failure", met, details={"output": output})
