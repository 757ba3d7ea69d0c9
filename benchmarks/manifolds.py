"""By how much are the estimates of the intrinsic dimension off, on manifolds whose dimension is known?

    python benchmarks/manifolds.py                       # the table of docs/metrics.md
    python benchmarks/manifolds.py --data CIFAR10_DIR    # and the spread over draws of CIFAR-10's pixels

Each manifold is drawn anew --draws times at each n, and every estimator reads the same graph. A cell is the mean of the
estimates divided by the true dimension, and their standard deviation in the same unit.
"""

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from results import Sheet, processor
from rich.console import Console
from rich.progress import track

import rra_monitor as rra
from rra_monitor.metrics import gride, levina_bickel, twonn, twonn_standard_error

Points = npt.NDArray[np.float64]
K = 64


def torus(rng: np.random.Generator, n: int, d: int) -> Points:
    """Flat, of constant density, without a border."""
    angles = rng.uniform(0, 2 * math.pi, (n, d))
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def sphere(rng: np.random.Generator, n: int, d: int) -> Points:
    """Curved everywhere, of constant density, without a border."""
    points = rng.standard_normal((n, d + 1))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def cube(rng: np.random.Generator, n: int, d: int) -> Points:
    """Of constant density, with a border that most samples are near to in high dimensions."""
    return rng.random((n, d))


def gaussian(rng: np.random.Generator, n: int, d: int) -> Points:
    """Of changing density, without a border."""
    return rng.standard_normal((n, d))


def helix(rng: np.random.Generator, n: int, d: int) -> Points:
    turn = rng.uniform(0, 10 * math.pi, n)
    return np.column_stack([np.cos(turn), np.sin(turn), turn / 10])


def swiss_roll(rng: np.random.Generator, n: int, d: int) -> Points:
    """A rolled-up sheet, uniform in its angle, so that the outer turns are thinner."""
    turn = rng.uniform(1.5 * math.pi, 4.5 * math.pi, n)
    return np.column_stack([turn * np.cos(turn), turn * np.sin(turn), 21 * rng.random(n)])


def doughnut(rng: np.random.Generator, n: int, d: int) -> Points:
    """A torus in three dimensions, curved both ways, denser inside."""
    a, b = rng.uniform(0, 2 * math.pi, (2, n))
    return np.column_stack([(3 + np.cos(b)) * np.cos(a), (3 + np.cos(b)) * np.sin(a), np.sin(b)])


def noisy_torus(rng: np.random.Generator, n: int, d: int) -> Points:
    """With normal noise of deviation 0.02 in each of 50 dimensions."""
    flat = np.zeros((n, 50))
    flat[:, : 2 * d] = torus(rng, n, d)
    return flat + 0.02 * rng.standard_normal(flat.shape)


MANIFOLDS: list[tuple[str, Callable[[np.random.Generator, int, int], Points], int]] = [
    ("circle", torus, 1),
    ("helix", helix, 1),
    ("swiss roll", swiss_roll, 2),
    ("doughnut", doughnut, 2),
    *[("flat torus", torus, d) for d in (2, 5, 10, 20)],
    *[("sphere", sphere, d) for d in (2, 5, 10, 20)],
    *[("Gaussian", gaussian, d) for d in (5, 20)],
    *[("cube", cube, d) for d in (5, 20)],
    *[("noisy torus", noisy_torus, d) for d in (2, 5, 10)],
]


def estimates(graph: rra.KnnGraph) -> dict[str, float]:
    scales = gride(graph)
    return {
        "TwoNN ml": twonn(graph),
        "TwoNN regression": twonn(graph, method="regression"),
        "TwoNN censored": twonn(graph, method="censored"),
        "Levina-Bickel 10": levina_bickel(graph, k=10),
        "Levina-Bickel 64": levina_bickel(graph, k=64),
        "Gride 4, 8": scales.dimensions[2],
        "Gride 32, 64": scales.dimensions[5],
    }


def manifold_sheet(sizes: list[int], draws: int) -> Sheet:
    title = f"Mean estimate / true dimension ± standard deviation in the same unit, {draws} draws"
    sheet = Sheet(title, [], texts=1)
    cases = [(case, n) for case in MANIFOLDS for n in sizes]
    for (name, draw, d), n in track(cases, "manifolds"):
        found = []
        for seed in range(draws):
            points = draw(np.random.default_rng(seed), n, d).astype(np.float32)
            found.append(estimates(rra.knn_graph(points, K)))
        cells = []
        for column in found[0]:
            values = np.array([values[column] for values in found]) / d
            cells.append(f"{values.mean():.2f} ± {values.std(ddof=1):.2f}")
        sheet.header = ["manifold", "dim.", "n", *found[0]]
        sheet.rows.append([name, str(d), f"{n:,}", *cells])
    return sheet


def pixel_sheet(data: Path, draws: int) -> Sheet:
    """Draws of 2,000 and 15,000 of CIFAR-10's training images."""
    from torchvision import datasets, transforms

    images = datasets.ImageFolder(str(data / "train"), transforms.ToTensor())
    pixels = np.stack([images[i][0].numpy().reshape(-1) for i in track(range(len(images)), "images")])
    header = ["n", "method", "mean ID", "standard deviation", "in %", "stated by bootstrap", "ID / sqrt(n)"]
    sheet = Sheet(f"CIFAR-10 pixels, {draws} draws out of {len(pixels):,}", header, texts=2)
    for n in (2000, 15_000):
        # Draws without replacement out of so many overlap, which hides a part of the spread.
        hidden = math.sqrt(1 - n / len(pixels))
        graphs = []
        for seed in track(range(draws), f"draws of {n:,}"):
            rows = np.random.default_rng(seed).choice(len(pixels), n, replace=False)
            graphs.append(rra.knn_graph(pixels[rows], 2))
        for method in ("ml", "regression", "censored"):
            values = np.array([twonn(graph, method=method) for graph in graphs])
            stated = np.mean([twonn_standard_error(graph, method=method) for graph in graphs[:10]])
            mean, spread = values.mean(), values.std(ddof=1) / hidden
            cells = [mean, spread, 100 * spread / mean, stated, mean / math.sqrt(n)]
            sheet.rows.append([f"{n:,}", method, *(f"{cell:.2f}" for cell in cells)])
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2000, 8000])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--data", type=Path, help="folder with train/<class>/ of CIFAR-10 images")
    options = parser.parse_args()
    torch.set_num_threads(2)
    console, started = Console(width=180), time.perf_counter()
    sheets = [manifold_sheet(options.sizes, options.draws)]
    if options.data:
        sheets.append(pixel_sheet(options.data, 4 * options.draws))
    for sheet in sheets:
        sheet.print(console)
        print(sheet.markdown(), "\n")
    print(f"{processor()}, 2 threads, torch {torch.__version__}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
