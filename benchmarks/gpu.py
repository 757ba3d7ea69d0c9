"""Every claim about GPUs, measured by one command: line, bar, measured, met.

    python benchmarks/gpu.py                       # at most seven minutes on one H100
    python benchmarks/gpu.py --only graphs snapshots
    python benchmarks/gpu.py --tiny                # seconds, on any machine: do all lines still run?

The table comes last. Its rows stand in a JSON file as soon as they are measured, so that a run that is stopped keeps
what it has. A line that fails is a row with its error, whose traceback is in the log beside the JSON; the others go on.
Trials have no bar: they measure the pieces of an engine to come.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton
sys.path.insert(0, str(Path(__file__).parents[1]))

from gpu_lines import (
    ceilings,
    correctness,
    cuda_tests,
    engine,
    fused,
    graphs,
    guest,
    profiles,
    ranks,
    resnet50,
    shortlists,
    trials,
)
from gpu_lines.bench import Bench
from gpu_lines.report import Line, report
from results import processor

LINES: dict[str, Line] = {
    "ceilings": ceilings.ceilings,
    "correctness": correctness.against_float64,
    "agreement": correctness.agreement,
    "certificate": engine.certificate,
    "sums": engine.sums,
    "without-triton": engine.without_kernels,
    "graphs": graphs.table,
    "snapshots": graphs.snapshots,
    "trial-steps": engine.steps,
    "trial-products": trials.products,
    "trial-selection": trials.selection,
    "trial-differences": trials.differences,
    "trial-shortlists": shortlists.shortlists,
    "trial-profiles": profiles.profiles,
    "resnet50": resnet50.snapshot,
    "announced": resnet50.announced,
    "group-of-one": ranks.of_one,
    "out-of-memory": guest.shortage,
    "bit-identity": guest.bit_identity,
    # Kernels late: an illegal access leaves the device unusable for this process, but not for that of the tests.
    "trial-fused": fused.fused,
    "cuda-tests": cuda_tests.cuda_tests,
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    lines = {name: line for name, line in LINES.items() if not options.only or name in options.only}
    if options.no_trials:
        lines = {name: line for name, line in lines.items() if not name.startswith("trial-")}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    report(lines, Bench(device, options.tiny), card(device), options.out)


def card(device: torch.device) -> str:
    """Name and memory of the GPU, or the processor's name."""
    if device.type != "cuda":
        return processor()
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name} ({properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda})"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="where the rows go")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, on a CPU, too")
    parser.add_argument("--only", nargs="+", choices=LINES, metavar="NAME", help=f"of {', '.join(LINES)}")
    parser.add_argument("--no-trials", action="store_true", help="leave out what has no bar")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
