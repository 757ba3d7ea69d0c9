"""What the networks of the thesis cost, beside what it prints: the tables of docs/networks.md.

    python benchmarks/networks.py            # a few seconds; --write replaces the tables in docs/networks.md

Rows are those of Tables 7.1 to 7.6. Accuracies are the thesis's; this script trains nothing.
"""

import argparse
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from results import Sheet
from torch import nn

from rra_monitor.nn import STAC, Cost, ResNet, network_cost, resnet20, resnet34

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"
BEGIN, END = "<!-- tables:begin -->", "<!-- tables:end -->"
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}

CIFAR10, IMG50, IMG1000 = (10, 32), (50, 64), (1000, 64)
"""Classes and side of the images: CIFAR-10, ImageNet64x64-50, ImageNet64x64."""
DATA = {"CIFAR-10": CIFAR10, "Img64-50": IMG50}
Build = Callable[..., nn.Module]


@dataclass(frozen=True)
class Printed:
    """What the thesis prints of a network: top-1 in per cent, FLOPs and parameters, None where it prints none."""

    top1: str
    flops: str | None = None
    parameters: str | None = None


def cost(build: Build, data: tuple[int, int]) -> Cost:
    classes, side = data
    with torch.device("meta"):
        network = build(num_classes=classes)
    return network_cost(network, (3, side, side))


def compared(printed: str | None, ours: int) -> list[str]:
    """The print, our number in full, and the difference in per cent of the print."""
    if printed is None:
        return ["", f"{ours:,}", ""]
    value = float(printed[:-1]) * UNITS[printed[-1]]
    return [printed, f"{ours:,}", f"{100 * (ours - value) / value:+.2f} %"]


def sheet(
    title: str, names: Sequence[str], rows: Iterable[tuple[Sequence[str], Build, tuple[int, int], Printed]]
) -> Sheet:
    """One table; the columns of a quantity that it prints nowhere show our number alone."""
    found = list(rows)
    header = [*names, "top-1, print"]
    for quantity in ("FLOPs", "parameters"):
        header += [f"{quantity}, print", "ours", "difference"]
    table = Sheet(title, header, texts=len(names))
    for cells, build, data, printed in found:
        its = cost(build, data)
        table.rows.append(
            [*cells, printed.top1, *compared(printed.flops, its.flops), *compared(printed.parameters, its.parameters)]
        )
    return table


def attended(size: Build, attention: Any, **options: Any) -> Build:
    return partial(size, attention=attention, **options)


def table_1() -> Sheet:
    networks: dict[str, tuple[Build, Build]] = {
        "base": (resnet20, resnet34),
        "2x-deep": (partial(ResNet, (6, 6, 6), (16, 32, 64)), partial(ResNet, (6, 8, 12, 6), (64, 128, 256, 512))),
        "sqrt2-wide": (partial(ResNet, (3, 3, 3), (22, 44, 88)), partial(ResNet, (3, 4, 6, 3), (90, 180, 360, 720))),
    }
    for placement, (name, attention) in itertools.product(
        ("standard", "post"), {"SENet": "se", "BAM": "bam", "STAC": "stac"}.items()
    ):
        networks[f"{name} {placement}"] = (
            attended(resnet20, attention, placement=placement),
            attended(resnet34, attention, placement=placement),
        )
    printed = {
        "base": ("89.9±0.2 41.5M", "76.8±0.5 4.65B 21.3M", "61.2±0.1 4.65B 21.8M"),
        "2x-deep": ("90.7±0.5 85.7M", "76.5±0.5 9.50B 44.0M", "62.4±0.3 9.50B 44.4M"),
        "sqrt2-wide": ("91.2±0.2 78.5M", "77.4±0.6 9.07B 41.6M", "62.7±0.1 9.19B 42.6M"),
        "SENet standard": ("90.5±0.2 41.7M", "77.6±0.5 4.66B 23.8M", "62.3±0.2 4.66B 24.3M"),
        "BAM standard": ("90.5±0.2 86.6M", "75.2±0.7 9.76B 47.7M", "62.0±0.1 9.76B 48.2M"),
        "STAC standard": ("90.6±0.2 42.3M", "77.7±0.4 4.73B 43.9M", "62.8±0.1 4.73B 44.4M"),
        "SENet post": ("90.4±0.2 41.7M", "75.7±0.5 4.66B 23.8M", "61.7±0.2 4.66B 24.3M"),
        "BAM post": ("90.7±0.3 86.6M", "unstable 9.76B 47.7M", "unstable 9.76B 48.2M"),
        "STAC post": ("90.4±0.2 42.3M", "76.6±0.4 4.73B 43.9M", "62.2±0.2 4.73B 44.4M"),
    }
    columns = (("ResNet20, CIFAR-10", CIFAR10), ("ResNet34, Img64-50", IMG50), ("ResNet34, Img64", IMG1000))
    return sheet(
        "Table 7.1: models",
        ("network and data", "model"),
        (
            ((data, name), networks[name][position > 0], shape, Printed(*printed[name][position].split()))
            for position, (data, shape) in enumerate(columns)
            for name in networks
        ),
    )


def table_2() -> Sheet:
    kernels = ((1, 1), (1, 3), (3, 1), (3, 3))
    printed = {
        "CIFAR-10": ("90.3±0.2 41.7M 305K", "90.4±0.1 42.0M 434K", "90.6±0.3 42.0M 434K", "90.6±0.2 42.3M 563K"),
        "Img64-50": ("73.3±0.4 167M 308K", "73.4±0.5 168M 437K", "73.6±0.6 168M 437K", "73.6±0.5 169M 566K"),
    }
    return sheet(
        "Table 7.2: kernels of STAC, ResNet20, window 8",
        ("data", "kernels"),
        (
            ((data, f"{sides[0]}, {sides[1]}"), attended(resnet20, partial(STAC, kernels=sides)), shape, printed_row)
            for data, shape in DATA.items()
            for sides, printed_row in zip(kernels, (Printed(*row.split()) for row in printed[data]), strict=True)
        ),
    )


def table_3() -> Sheet:
    stages = {
        "none": None,
        "1": ("stac", None, None),
        "2": (None, "stac", None),
        "3": (None, None, "stac"),
        "all": "stac",
    }
    printed = {
        "CIFAR-10": (
            *("89.9±0.2 41.5M 272K", "90.1±0.2 41.8M 286K", "90.4±0.3 41.8M 328K"),
            *("90.1±0.2 41.8M 494K", "90.6±0.2 42.3M 563K"),
        ),
        "Img64-50": (
            *("71.6±0.5 166M 275K", "71.7±0.6 167M 289K", "72.2±0.7 167M 330K"),
            *("73.0±1.0 167M 496K", "73.6±0.5 169M 566K"),
        ),
    }
    return sheet(
        "Table 7.3: stages with STAC, ResNet20, window 8",
        ("data", "stages"),
        (
            ((data, name), attended(resnet20, stages[name]), shape, Printed(*row.split()))
            for data, shape in DATA.items()
            for name, row in zip(stages, printed[data], strict=True)
        ),
    )


def table_4() -> Sheet:
    printed = {
        "CIFAR-10": {
            **{1: "90.7±0.3 84.2M 563K", 2: "90.6±0.2 52.3M 563K", 4: "90.5±0.2 44.3M 563K", 8: "90.6±0.2 42.3M 563K"},
            "global": "90.5±0.2 41.7M 305K",
        },
        "Img64-50": {
            **{1: "73.1±0.5 337M 566K", 2: "73.7±0.2 209M 566K", 4: "73.6±0.2 177M 566K", 8: "73.6±0.5 169M 566K"},
            **{16: "73.6±0.6 167M 566K", "global": "73.0±0.5 167M 308K"},
        },
    }
    return sheet(
        "Table 7.4: window of STAC, ResNet20; global has 1x1 kernels and is SENet",
        ("data", "window"),
        (
            ((data, str(window)), attended(resnet20, with_window(window)), shape, Printed(*row.split()))
            for data, shape in DATA.items()
            for window, row in printed[data].items()
        ),
    )


def with_window(window: Any) -> Any:
    return partial(STAC, window=window, kernels=(1, 1) if window == "global" else (3, 3))


def table_5() -> Sheet:
    printed = {
        ("CIFAR-10", 1): "90.1 90.0 90.1 90.1 90.2 90.2",
        ("CIFAR-10", 2): "90.0 90.1 90.1 90.4 90.2",
        ("CIFAR-10", 3): "90.4 90.2 90.2 90.1",
        ("Img64-50", 1): "71.6 71.9 72.0 71.7 72.0 72.3 71.9",
        ("Img64-50", 2): "71.8 71.8 72.4 72.2 72.3 72.1",
        ("Img64-50", 3): "72.4 73.0 72.7 73.0 72.6",
    }
    return sheet(
        "Table 7.5: STAC in one stage alone, by window, ResNet20 (the thesis prints accuracies only)",
        ("data", "stage", "window"),
        (
            (
                (data, str(stage), str(2**power)),
                attended(resnet20, tuple("stac" if at == stage else None for at in (1, 2, 3)), window=2**power),
                DATA[data],
                Printed(top1),
            )
            for (data, stage), row in printed.items()
            for power, top1 in enumerate(row.split())
        ),
    )


def table_6() -> Sheet:
    printed = {
        ("CIFAR-10", "greedy"): ((16, 8, 1), "90.8±0.2 56.0M"),
        ("CIFAR-10", "max CS"): ((8, 4, 8), "90.5±0.2 43.0M"),
        ("CIFAR-10", "largest uniform"): ((8, 8, 8), "90.6±0.2 42.3M"),
        ("Img64-50", "greedy"): ((32, 4, 2), "73.5±0.6 184M"),
        ("Img64-50", "max CS"): ((8, 8, 16), "73.4±0.4 168M"),
        ("Img64-50", "largest uniform"): ((16, 16, 16), "73.5±0.5 167M"),
    }
    return sheet(
        "Table 7.6: choosing the windows of stages 1, 2, 3, ResNet20",
        ("data", "strategy", "windows"),
        (
            ((*key, ", ".join(map(str, windows))), attended(resnet20, "stac", window=windows), DATA[key[0]], numbers)
            for key, (windows, row) in printed.items()
            for numbers in [Printed(*row.split())]
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the tables of docs/networks.md")
    options = parser.parse_args()
    tables = "\n\n".join(table().markdown() for table in (table_1, table_2, table_3, table_4, table_5, table_6))
    print(tables)
    if options.write:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
