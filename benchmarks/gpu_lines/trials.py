"""Trials for an engine of mixed precision: what products, selection and direct differences cost, one by one."""

import math
from collections.abc import Callable, Iterator

import torch

from .bench import Bench, Row, in_blocks, in_units, power_of_two, shape_text
from .formats import FORMATS, Format

SHAPES = ((10_000, 4096, 100), (15_000, 16_384, 150), (50_000, 3072, 100), (2000, 16_384, 20), (20_000, 1024, 2))
"""Samples, features and neighbours."""

MARGIN = 16
"""Candidates of a shortlist beyond k."""

HEIGHTS = (1024, 4096, 16_384)
"""Rows of a block of products."""

STRIDE = 16
"""One column of so many estimates a threshold."""


def shapes(bench: Bench) -> tuple[tuple[int, int, int], ...]:
    return ((96, 32, 5),) if bench.tiny else SHAPES


def prepared(points: torch.Tensor) -> torch.Tensor:
    """Centred and scaled by a power of two, in place, so that no feature exceeds 1."""
    points -= points.mean(dim=0)
    return points.div_(power_of_two(float(points.abs().max())))


def products(bench: Bench) -> Iterator[Row]:
    """Milliseconds of all products of rows of a block with all samples."""
    for n, dim, k in shapes(bench):
        points = prepared(bench.cloud(n, dim))
        for name, form in FORMATS.items():
            if name == "TF32, rounded first":
                continue
            sides = form.sides(points)
            single = name in ("TF32", "float16", "bfloat16")
            heights = sorted({min(height, n) for height in HEIGHTS}) if single else [min(4096, n)]
            for height in heights:
                taken = bench.milliseconds(lambda s=sides, f=form, h=height: multiplied(f, *s, h), 3)
                yield trial(n, dim, k, f"products in {name}, {height:,} rows", taken)
            if name == "float16":
                taken = bench.milliseconds(lambda s=sides[0]: [s[rows] @ s.T for rows in in_blocks(len(s), 4096)], 3)
                yield trial(n, dim, k, "products in float16, returned in float16, 4,096 rows", taken)
            del sides


def multiplied(form: Format, rows: torch.Tensor, columns: torch.Tensor, height: int) -> None:
    for here in in_blocks(len(rows), height):
        form.product(rows[here], columns)


def selection(bench: Bench) -> Iterator[Row]:
    """Milliseconds to pick k + 16 of each row, timed for one block of distances and scaled to all rows."""
    for n, dim, k in shapes(bench):
        points = prepared(bench.cloud(n, dim))
        norms = points.square().sum(dim=1)
        height, kept = min(4096, n), min(k + MARGIN, n - 1)
        squared = torch.addmm(norms, points[:height], points.T, alpha=-2).add_(norms[:height, None])
        half = squared.half()
        ways: dict[str, Callable[[], object]] = {
            "topk of float32": lambda s=squared, m=kept: s.topk(m, largest=False),
            "topk of float32, not sorted": lambda s=squared, m=kept: s.topk(m, largest=False, sorted=False),
            "topk of float16": lambda s=half, m=kept: s.topk(m, largest=False),
            "sort of float32": lambda s=squared: s.sort(dim=1),
            "sort of float16": lambda s=half: s.sort(dim=1),
            "threshold from every 16th column": lambda s=squared, m=kept: thresholds(s, m),
            "threshold, filter, topk": lambda s=squared, m=kept: filtered(s, thresholds(s, m), m),
            "minimum of 32 columns, then topk": lambda s=squared, m=kept: by_groups(s, m),
        }
        for name, way in ways.items():
            yield trial(n, dim, k, f"select k + 16: {name}", bench.milliseconds(way, 3) * n / height)
        counts = (squared <= thresholds(squared, kept)[:, None]).sum(dim=1)
        text = f"{int(counts.min())} to {int(counts.max())} of {kept} wanted"
        short = float((counts < kept).float().mean())
        yield Row(f"trial {shape_text(n, dim, k)}: candidates below the threshold", text, value=short)


def thresholds(squared: torch.Tensor, kept: int) -> torch.Tensor:
    """(r,) distances that hardly any row has fewer than `kept` below: three deviations beyond the expected rank."""
    some = squared[:, ::STRIDE]
    return some.kthvalue(min(threshold_rank(kept), some.shape[1]), dim=1).values


def threshold_rank(kept: int) -> int:
    expected = kept / STRIDE
    return math.ceil(expected + 3 * math.sqrt(expected)) + 1


def filtered(squared: torch.Tensor, limits: torch.Tensor, kept: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and ids of the nearest, of those below a threshold: compaction, then topk of what is left."""
    mask = squared <= limits[:, None]
    rows, columns = mask.nonzero(as_tuple=True)
    counts = mask.sum(dim=1)
    places = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    width = max(int(counts.max()), kept)
    values = torch.full((len(squared), width), torch.inf, device=rows.device)
    ids = torch.zeros((len(squared), width), dtype=torch.int64, device=rows.device)
    values[rows, places] = squared[rows, columns]
    ids[rows, places] = columns
    nearest = values.topk(kept, dim=1, largest=False)
    return nearest.values, ids.gather(1, nearest.indices)


def by_groups(squared: torch.Tensor, kept: int) -> torch.Tensor:
    """The nearest `kept` groups of 32 columns hold the nearest `kept` samples: topk of their minima, then of theirs."""
    size = 32
    width = squared.shape[1] // size * size
    groups = squared[:, :width].unflatten(1, (-1, size))
    few = min(kept, groups.shape[1])
    chosen = groups.amin(dim=2).topk(few, largest=False, sorted=False).indices
    left = groups.gather(1, chosen[:, :, None].expand(-1, -1, size)).flatten(1)
    return torch.cat([left, squared[:, width:]], dim=1).topk(kept, largest=False).values


def differences(bench: Bench) -> Iterator[Row]:
    """Milliseconds of direct differences of the candidates of all rows, timed for some and scaled."""
    for n, dim, k in shapes(bench):
        points = prepared(bench.cloud(n, dim))
        rows = min(1024, n)
        for name, count in {"k + 16": min(k + MARGIN, n - 1), "8": 8}.items():
            ids = torch.randint(n, (rows, count), device=bench.device)
            taken = bench.milliseconds(lambda p=points, i=ids: direct(p, i), 3) * n / rows
            yield trial(n, dim, k, f"direct differences of {name} candidates, gather and einsum", taken)


def direct(points: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """(r, c) squared distances of the first samples to candidates, in blocks of 256 MB."""
    step = max(1, (64 << 20) // (ids.shape[1] * points.shape[1]))
    found = []
    for here in in_blocks(len(ids), step):
        apart = points[ids[here]].sub_(points[here, None])
        found.append(torch.einsum("rcd,rcd->rc", apart, apart))
    return torch.cat(found)


def trial(n: int, dim: int, k: int, name: str, milliseconds: float) -> Row:
    return Row(f"trial {shape_text(n, dim, k)}: {name}", in_units(milliseconds, "ms"), value=milliseconds)
