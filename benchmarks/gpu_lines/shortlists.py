"""Trial: how often a shortlist of low-precision products misses a neighbour, and how many rows a bound certifies."""

from collections.abc import Iterator

import torch

from tests.helpers.clouds import cloud_of, clusters

from .bench import Bench, Row, shape_text
from .formats import FORMATS, Format
from .trials import MARGIN, prepared, shapes

ROWS = 1024
"""Rows of each cloud that are compared with float64."""

MARGINS = (16, 64, 256)


def shortlists(bench: Bench) -> Iterator[Row]:
    for kind, points, k in clouds(bench):
        n, dim = points.shape
        rows = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:ROWS].to(bench.device)
        double = points.double()
        norms = double.square().sum(dim=1)
        true = (norms + norms[rows, None]).addmm_(double[rows], double.T, alpha=-2)
        true[torch.arange(len(rows), device=rows.device), rows] = torch.inf
        for name, form in FORMATS.items():
            title = f"trial {shape_text(n, dim, k)}{kind}: shortlist in {name}"
            yield compared(form, points, rows, k, true, norms, title)
        del double, true


def clouds(bench: Bench) -> Iterator[tuple[str, torch.Tensor, int]]:
    """Kind, prepared points and number of neighbours: those of the other trials, and one of narrow classes."""
    for n, dim, k in shapes(bench):
        yield "", prepared(bench.cloud(n, dim)), k
    n, dim, k = (160, 32, 5) if bench.tiny else (10_000, 512, 100)
    yield " clusters", prepared(torch.from_numpy(cloud_of(clusters, 0, n, dim, 10, 10.0)).to(bench.device)), k


def compared(
    form: Format,
    points: torch.Tensor,
    rows: torch.Tensor,
    k: int,
    true: torch.Tensor,
    norms: torch.Tensor,
    title: str,
) -> Row:
    """One format: rows that miss a neighbour, and shares of rows that bounds certify with each margin.

    Bounds: "operands", from the largest rounding of a feature; "moved", from how far each sample was moved by
    rounding; each with exact sums, and with d roundings of 2^-23 in each sum of products.
    """
    n, dim = points.shape
    left, right = form.sides(points)
    product = form.product(left[rows], right).div_(form.lift**2)
    itself = torch.arange(len(rows), device=rows.device), rows
    own = norms[rows]
    exact = (norms + own[:, None] - true) / 2
    error = (product.double() - exact).abs() / (own[:, None] * norms).sqrt()
    error[itself] = 0
    near = (norms.float() + own[:, None].float()).sub_(product, alpha=2)
    near[itself] = torch.inf
    seen = form.seen(points)
    moved = (seen - points.double()).norm(dim=1)
    relative = float((moved / norms.sqrt()).max())
    seen_norms = seen.square().sum(dim=1)
    shells = (seen_norms.float() + seen_norms[rows, None].float()).sub_(product, alpha=2)
    shells[itself] = torch.inf
    found: dict[str, list[float]] = {"operands": [], "operands and sums": [], "moved": [], "moved and sums": []}
    kth_true = true.kthvalue(k, dim=1).values
    nearest = near.topk(min(k + MARGIN, n - 1), dim=1, largest=False).indices
    missed = true.gather(1, nearest).kthvalue(k, dim=1).values > kth_true * (1 + 1e-9)
    for margin in MARGINS:
        kept = min(k + margin, n - 1)
        for sums in (0.0, dim * 2.0**-23):
            name = " and sums" if sums else ""
            last, taken = last_and_kth(near, true, kept, k)
            bound = 2 * (form.relative + sums) * own.sqrt() * (own.sqrt() + last.clamp(min=0).sqrt())
            found[f"operands{name}"].append(share(last - bound > taken))
            last, taken = last_and_kth(shells, true, kept, k)
            # A sample outside is at least as far as the last one; one that matters has a norm of at most the sum.
            largest = own.sqrt() + last.clamp(min=0).sqrt()
            rounded = 2 * (form.dropped + sums) * own.sqrt() * largest
            reach = (last - rounded).clamp(min=0).sqrt() - relative * (own.sqrt() + largest)
            found[f"moved{name}"].append(share(reach > taken.sqrt()))
    shares = "; ".join(f"{name} {' '.join(f'{value:.2f}' for value in values)}" for name, values in found.items())
    text = f"{int(missed.sum())} of {len(rows)} miss; error {float(error.max()):.1e}; certified: {shares}"
    details = {
        "rows": len(rows),
        "missed": int(missed.sum()),
        "largest error of a product over |x| |y|": float(error.max()),
        "mean error of a product over |x| |y|": float(error.mean()),
        "largest move of a sample over its norm": relative,
        "margins": MARGINS,
        "certified": found,
    }
    return Row(title, text, value=float(missed.float().mean()), details=details)


def last_and_kth(near: torch.Tensor, true: torch.Tensor, kept: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(r,) both squared: the last candidate's by products, and the k-th true one among the candidates."""
    found = near.topk(kept, dim=1, largest=False)
    return found.values[:, -1].double(), true.gather(1, found.indices).kthvalue(k, dim=1).values


def share(rows: torch.Tensor) -> float:
    return float(rows.double().mean())
