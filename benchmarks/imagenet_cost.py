"""What would graphs of ImageNet's training images cost, by the model of docs/graph.md? Computed, not measured.

python benchmarks/imagenet_cost.py [--n 1281167] [--k 128]

The layers are those of ResNet50 at 224 x 224 pixels: input, stem, the output of every block, pool and classifier.
"""

import argparse
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from rra_monitor.graph.distributed import SPARE

LAYERS = {
    "input 3x224x224": (1, 3 * 224 * 224),
    "stem 64x112x112": (1, 64 * 112 * 112),
    "max pool 64x56x56": (1, 64 * 56 * 56),
    "layer1 256x56x56": (3, 256 * 56 * 56),
    "layer2 512x28x28": (4, 512 * 28 * 28),
    "layer3 1024x14x14": (6, 1024 * 14 * 14),
    "layer4 2048x7x7": (3, 2048 * 7 * 7),
    "pool 2048": (1, 2048),
    "fc 1000": (1, 1000),
}
"""Name to how many there are and the features of each."""

POOLED = {"layer1": (3, 256), "layer2": (4, 512), "layer3": (6, 1024), "layer4": (3, 2048)}
"""The blocks' global averages; a view of s x s cells has s² times the features."""

PRODUCT, SELECTION, DIFFERENCE = 22.5e12, 1e11, 4e10
"""Assumed of an H100, per second: multiply-adds (two thirds of the peak), products selected from, differences."""

WIRE = {8: 300e9, 64: 40e9}
"""Assumed bytes per second that a GPU sends: NVLink within a machine; one 400 Gb/s card per GPU between machines."""

MEMORY = 60e9
"""Bytes of an 80 GB GPU left to the features."""


@dataclass
class Cost:
    """Of one layer, per rank: seconds, and bytes of its own features."""

    first: float
    second: float
    wire: float
    features: float

    @property
    def seconds(self) -> float:
        return max(self.first, self.wire) + max(self.second, self.wire)


def cost(n: int, dim: int, k: int, ranks: int) -> Cost:
    own = n / ranks
    return Cost(
        first=own * n * (dim / PRODUCT + 1 / SELECTION),
        second=own * (k + SPARE) * dim / DIFFERENCE,
        wire=(n - own) * dim * 4 / WIRE[ranks],
        features=own * dim * 4,
    )


def rows_of(table: Table, n: int, k: int, layers: dict[str, tuple[int, int]], title: str) -> None:
    sums = dict.fromkeys(WIRE, 0.0)
    for name, (count, dim) in layers.items():
        cells = [name, f"{count}", f"{dim:,}"]
        for ranks in WIRE:
            found = cost(n, dim, k, ranks)
            sums[ranks] += count * found.seconds
            fits = "" if found.features <= MEMORY else " no room"
            cells += [
                f"{found.first:,.1f}",
                f"{found.second:,.1f}",
                f"{found.wire:,.1f}",
                f"{found.features / 1e9:,.1f}{fits}",
            ]
        table.add_row(*cells)
    table.add_row(title, "", "", *(cell for ranks in WIRE for cell in (f"{sums[ranks]:,.0f}", "", "", "")))
    table.add_section()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_281_167)
    parser.add_argument("--k", type=int, default=128)
    options = parser.parse_args()
    table = Table(title=f"n = {options.n:,}, k = {options.k}: seconds per layer, GB of features per rank; computed")
    for column in ("layer", "count", "d"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for ranks in WIRE:
        for column in ("pass 1", "pass 2", "wire", "GB"):
            table.add_column(f"{ranks}: {column}", justify="right")
    rows_of(table, options.n, options.k, LAYERS, "all layers whole")
    rows_of(table, options.n, options.k, POOLED, "all blocks, global average")
    views = {f"{name} 4x4": (count, 16 * dim) for name, (count, dim) in POOLED.items()}
    rows_of(table, options.n, options.k, views, "all blocks, 4x4 cells")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
