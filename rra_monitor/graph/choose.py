"""The faster backend, predicted from the shape of the features, their device and the options, and from nothing else.

The same call chooses the same backend in every process, on every machine, with any number of threads, whatever ran
before: nothing is timed. The times compared are those of one machine (2 cores of an Intel Xeon with AMX, 2 threads).

The compilation of the first NN-descent of a process always counts. An approximate graph is chosen only where it saves
time even in a process that builds no other: beyond 130,000 samples. Where a descent would pay only once it is compiled,
the exact graph costs time and no accuracy; `backend="nndescent"` saves that time. It would pay for layers of few
features, which are cheap anyway.

What this ignores costs little. More threads shorten both searches but not the compilation: a descent may be
chosen that loses up to COMPILATION, once in a process. Without bfloat16 products wide features take an exact graph
longer than predicted: there, too, it costs time and no accuracy.
"""

import math

import torch

from rra_monitor.graph.all_pairs import LARGEST_TABLE, all_pairs_seconds, suits
from rra_monitor.graph.nn_descent import LEAST_WIDTH, nn_descent_bytes

HIGH_RECALL = 0.98
"""Above this recall NN-descent needs more than its first effort."""

COMPILATION = 20.0
"""Seconds that the first search of a process takes to compile."""


def choose(n: int, dim: int, k: int, device: torch.device, min_recall: float, memory_budget: int) -> tuple[str, str]:
    """The backend that is predicted to be faster, and the reason.

    Args:
        n: number of samples.
        dim: number of features of a sample.
        k: number of neighbours.
        device: device of the samples.
        min_recall: recall that an approximation must reach.
        memory_budget: bytes that may be taken beyond the features.
    """
    if device.type == "cuda":
        return "exact", "the descent runs on the CPU alone"
    if n <= LARGEST_TABLE and suits(n, dim):
        return "exact", "all pairs are compared directly"
    if min_recall > HIGH_RECALL:
        return "exact", f"min_recall={min_recall} is above {HIGH_RECALL}, which a descent seldom reaches at first"
    if 2 * max(k + 1, LEAST_WIDTH) >= n:
        return "exact", "a descent would keep half of the samples"
    if (needed := nn_descent_bytes(n, dim, k)) > memory_budget:
        return "exact", f"a descent would take {needed:,} bytes, above memory_budget={memory_budget:,}"
    exact, by_descent = exact_seconds(n, dim, k), nn_descent_seconds(n, dim, k) + COMPILATION
    reason = (
        f"predicted for two cores {exact:.2g} s exact, {by_descent:.2g} s by descent, "
        f"of which {COMPILATION:.0f} s to compile it, once in a process"
    )
    # An approximate graph has to be clearly faster.
    return ("nndescent" if by_descent < 0.85 * exact else "exact"), reason


def exact_seconds(n: int, dim: int, k: int) -> float:
    """Predicted time of exact_graph on the CPU.

    Terms, where not all pairs are compared directly: the products of all pairs in bfloat16, the selection from them,
    direct differences to some 1.2 k candidates and their sorting, preparation. Fitted to n = 2,000 to 40,000, d = 48 to
    3,072 and k = 10 to 100 on CIFAR-10's pooled pixels: within 35 % of each measured time, mostly within 15 %.
    """
    if suits(n, dim):
        return all_pairs_seconds(n, dim)
    pairs = n * n * (0.8e-12 * dim + 1.1e-9)
    return 0.03 + pairs + n * k * (1e-7 + 1.5e-10 * dim) + n * (8e-6 + 3e-9 * dim)


def nn_descent_seconds(n: int, dim: int, k: int) -> float:
    """Predicted time of nn_descent_graph at its first effort with its audit, once it is compiled.

    It compares a number of pairs proportional to n k, and finds fewer of them in the cache as n grows. Fitted to the
    same shapes: within 35 % of each, mostly within 15 %. Beyond them it is too low: n = 160,000, d = 64, k = 10 took
    1.5 times as long, a quarter of the time of the exact graph.
    """
    width = max(k + 1, LEAST_WIDTH)
    return 0.03 + n * width * (1.05e-6 + 2.5e-9 * dim * math.sqrt(math.sqrt(n / 10_000)))
