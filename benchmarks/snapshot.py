"""How long does a snapshot take beyond the passes through the network, beside another version of the project?

    git worktree add DIR COMMIT
    python benchmarks/snapshot.py --data CIFAR10 --against DIR [--checkpoint FILE] [--write]

A ResNet20 on CIFAR-10, 13 layers, n = 2,000, k = 20. Each version runs in a process of its own; both wait while the
other works, and take turns: first the passes alone, then a snapshot. What is shown is the difference of the two.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from results import Sheet, provenance, write_section
from rich.console import Console

HERE = Path(__file__).parents[1]


def work(data: Path, checkpoint: Path | None, n: int, threads: int) -> None:
    """Answer each line with the seconds of the passes alone, and of a snapshot."""
    import torch
    from torchvision import transforms

    sys.path.insert(0, str(HERE / "examples"))
    from cifar10_lightning import cifar10

    import rra_monitor as rra
    from rra_monitor.nn import resnet20

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = resnet20().eval()
    if checkpoint is not None:
        state = torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]
        network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    sample = rra.FixedSample.from_dataset(cifar10(data, "train", transforms.ToTensor()), n=n)
    images = torch.cat(list(sample.batches(1000)))
    monitor = rra.Monitor({"p": rra.FixedSample.from_tensors(images, torch.as_tensor(sample.labels))}, k=20)
    for step, _ in enumerate(sys.stdin):
        started = time.perf_counter()
        with torch.no_grad():
            for batch in images.split(128):
                network(batch)
        passed = time.perf_counter()
        found = monitor.measure(network, step=step, epoch=step)["p"]
        seconds = [passed - started, time.perf_counter() - passed]
        print(json.dumps({"seconds": seconds, "layers": len(found.layers)}), flush=True)


class Version:
    """A version of the project in a process of its own."""

    def __init__(self, root: Path, options: argparse.Namespace) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": f"{options.threads}"}
        command = [sys.executable, __file__, "--worker", "--data", str(options.data), "--n", str(options.n)]
        command += ["--threads", str(options.threads)]
        command += ["--checkpoint", str(options.checkpoint)] if options.checkpoint else []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def turn(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        time.sleep(0.3)
        print("go", file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--against", type=Path, help="where the other version lies")
    parser.add_argument("--checkpoint", type=Path, help="of a recipe's ResNet20; as initialised by default")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="replace the section of benchmarks/RESULTS.md")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.data, options.checkpoint, options.n, options.threads)
        return
    versions = {"this": Version(HERE, options)}
    if options.against:
        versions["the other"] = Version(options.against, options)
    taken: dict[str, list[list[float]]] = {name: [] for name in versions}
    for round_ in range(options.rounds + 1):  # the first finds the layers, compiles and warms
        for name, version in versions.items():
            answer = version.turn()
            if round_:
                taken[name].append(answer["seconds"])
    sheet = Sheet("Medians of seconds", ["version", "passes", "snapshot", "beyond the passes"])
    beyond = {name: [whole - passes for passes, whole in each] for name, each in taken.items()}
    for name, each in taken.items():
        columns = [statistics.median(values) for values in (*zip(*each, strict=True), beyond[name])]
        sheet.rows.append([name, *(f"{value:.2f}" for value in columns)])
    sheet.print(Console())
    about = provenance(options.threads, {})
    lines = [f"{answer['layers']} layers, n = {options.n:,}, k = 20, {options.rounds} turns."]
    if options.against:
        ratio = statistics.median(a / b for a, b in zip(*beyond.values(), strict=True))
        commit = subprocess.check_output(["git", "-C", str(options.against), "rev-parse", "--short", "HEAD"], text=True)
        lines.append(f"The other: {commit.strip()}. Median ratio of a turn, this / the other: {ratio:.2f}.")
    print(*lines, about)
    if options.write:
        title = "## How long does a snapshot take beyond the passes?"
        write_section("snapshot", "\n\n".join([title, about, sheet.markdown(), " ".join(lines)]))


if __name__ == "__main__":
    main()
