"""The kernels of a GPU by Triton's interpreter, which runs in a process of its own: Triton reads its variable once."""

import os
import subprocess
import sys

import pytest
import torch

from rra_monitor.graph import smallest
from rra_monitor.graph.points import Points
from rra_monitor.graph.tensor_cores import Rounded
from tests.helpers.clouds import cloud_of, offset

SCRIPT = """
import torch
from rra_monitor.graph import smallest
from rra_monitor.graph.distances import squared_differences
from rra_monitor.graph.parts import GraphOfParts
from rra_monitor.graph.points import Points
from rra_monitor.graph.tensor_cores import Rounded
from tests.helpers.clouds import assert_exact, cloud_of, offset, true_distances

assert smallest.kernels_for(torch.device("cpu")) is not None
found = {}
for name, cloud in {
    "float32": torch.from_numpy(cloud_of(offset, 0, 12, 1100, 3, 5.0)),
    "bfloat16, strided": torch.from_numpy(cloud_of(offset, 0, 12, 70, 3, 5.0)).bfloat16()[:, ::2],
    "huge": torch.from_numpy(cloud_of(offset, 0, 12, 33, 3, 5.0)) * 1e36,
    "bytes": torch.arange(12 * 9).reshape(12, 9).to(torch.uint8),
}.items():
    points = Points(cloud)
    rounded = Rounded.of(points, 1 << 20)
    found[name] = cloud, rounded.halves, rounded.norms, rounded.moved
    others = torch.arange(12).repeat(2, 1)
    for double in (False, True):
        squared = squared_differences(points, torch.tensor([3, 7]), others, double)
        true = torch.from_numpy(true_distances(cloud.float().numpy()))[[3, 7]].nan_to_num(posinf=0.0)
        distances = squared.sqrt() * points.scale
        torch.testing.assert_close(distances, true, rtol=1e-12 if double else 1e-6, atol=0)
    build = GraphOfParts(12, cloud.shape[1], 4)
    while build.wants_sweep:
        build.add(cloud)
        build.end_sweep()
    assert_exact(build.graph(), true_distances(cloud.float().numpy()))
    some = torch.where(others % 3 == 1, -1, others)
    fewer = squared_differences(points, torch.tensor([3, 7]), some, True)
    assert torch.equal(fewer, squared.masked_fill(some < 0, torch.inf))
    assert (squared_differences(points, torch.tensor([3]), some[:1, 1:2].repeat(1, 20)) == torch.inf).all()
table, norms = torch.randn(3, 2003), torch.rand(2003)
rows = torch.tensor([5, 2002, 700])
table[torch.arange(3), rows] = 1e6
found["smallest"] = table.clone(), norms, rows, *smallest.smallest(table, norms, rows, 20)
assert smallest.group_of(2003, 20) >= smallest.LEAST_GROUP
torch.save(found, __import__("sys").argv[1])
"""


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    try:
        import triton  # noqa: F401
    except ImportError as error:
        pytest.skip(f"no Triton: {error}")
    file = tmp_path_factory.mktemp("kernels") / "found.pt"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(file)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return torch.load(file)


@pytest.mark.parametrize("name", ["float32", "bfloat16, strided", "huge", "bytes"])
def test_the_kernel_that_rounds_gives_what_torch_gives(interpreted, name):
    cloud, halves, norms, moved = interpreted[name]
    expected = Rounded.of(Points(cloud), 1 << 20)
    assert torch.equal(halves, expected.halves)
    torch.testing.assert_close(norms, expected.norms)
    torch.testing.assert_close(moved, expected.moved, rtol=1e-3, atol=0)


def test_the_kernels_that_select_find_what_a_ranking_of_whole_rows_finds(interpreted):
    table, norms, rows, values, columns = interpreted["smallest"]
    expected = smallest.smallest(table, norms, rows, columns.shape[1])
    assert torch.equal(columns, expected[1])
    torch.testing.assert_close(values, expected[0])


def test_without_kernels_nothing_is_compiled_on_a_cpu():
    assert smallest.kernels_for(torch.device("cpu")) is None


def test_moves_bound_how_far_rounding_moves_a_sample():
    points = Points(cloud_of(offset, 0, 50, 300, 3, 5.0))
    rounded = Rounded.of(points, 1 << 20)
    true = (points.matrix.double() - points.centre.double()) / points.scale * 2.0**15
    moved = (rounded.halves[:, :300].double() - true).norm(dim=1)
    assert (moved <= rounded.moved).all()
    assert (rounded.moved <= 1.01 * moved).all()
