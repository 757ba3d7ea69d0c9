import logging
import math

import numpy as np
import pytest
import torch

import rra_monitor as rra
from rra_monitor.graph import choose as choose_module
from rra_monitor.graph import nn_descent
from rra_monitor.graph.choose import choose
from rra_monitor.graph.exact import MEMORY_BUDGET

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """As in a process that has searched by descent before."""
    monkeypatch.setattr(nn_descent, "compiled", True)


def chosen(n, dim, k, device=CPU, min_recall=0.95, memory_budget=MEMORY_BUDGET):
    return choose(n, dim, k, device, min_recall, memory_budget)


def test_many_neighbours_of_few_samples_are_found_exactly():
    assert chosen(2_000, 3_072, 20)[0] == "exact"
    assert chosen(15_000, 16_384, 150)[0] == "exact"


def test_few_neighbours_of_many_samples_with_few_features_are_found_by_descent():
    assert chosen(100_000, 64, 10)[0] == "nndescent"


def test_where_an_approximation_can_not_serve_the_graph_is_exact():
    assert chosen(100_000, 64, 10, min_recall=0.999)[0] == "exact"
    assert chosen(100_000, 64, 10, torch.device("cuda"))[0] == "exact"
    assert chosen(100, 64, 60, min_recall=0.5)[0] == "exact"


def test_a_descent_that_exceeds_the_memory_budget_is_not_taken():
    needed = nn_descent.nn_descent_bytes(100_000, 64, 10)
    assert chosen(100_000, 64, 10, memory_budget=needed)[0] == "nndescent"
    backend, reason = chosen(100_000, 64, 10, memory_budget=needed - 1)
    assert backend == "exact"
    assert reason == f"a descent would take {needed:,} bytes, above memory_budget={needed - 1:,}"


def test_the_default_budget_holds_a_descent_over_50_000_images_of_cifar_10():
    assert nn_descent.nn_descent_bytes(50_000, 3_072, 30, effort=2) < MEMORY_BUDGET


def test_the_first_descent_of_a_process_has_to_pay_for_its_compilation(monkeypatch):
    monkeypatch.setattr(nn_descent, "compiled", False)
    backend, reason = chosen(50_000, 64, 10)
    assert backend == "exact"
    assert "s by descent and 20 s to compile it, once in a process" in reason
    assert chosen(1_000_000, 64, 10, memory_budget=10 << 30)[0] == "nndescent"
    monkeypatch.setattr(nn_descent, "compiled", True)
    backend, reason = chosen(50_000, 64, 10)
    assert backend == "nndescent"
    assert "compile" not in reason


def test_a_search_is_noted_as_compiled(monkeypatch):
    monkeypatch.setattr(nn_descent, "compiled", False)
    points = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
    rra.knn_graph(points, 60, "nndescent")  # no search: each is compared with all
    assert not nn_descent.compiled
    rra.knn_graph(points, 5, "nndescent")
    assert nn_descent.compiled


def test_auto_keeps_to_the_memory_budget_in_its_choice_and_in_the_descent(monkeypatch, caplog):
    monkeypatch.setattr(choose_module, "exact_seconds", lambda n, dim, k: math.inf)  # so that a descent always pays
    points = np.random.default_rng(0).normal(size=(2000, 300)).astype(np.float32)  # of which it finds 90 %
    needed = nn_descent.nn_descent_bytes(2000, 300, 10)
    assert rra.knn_graph(points, 10, min_recall=0.8, memory_budget=needed).backend == "nndescent"
    assert rra.knn_graph(points, 10, min_recall=0.8, memory_budget=needed - 1).backend == "exact"
    assert rra.knn_graph(points, 10, min_recall=0.97, memory_budget=needed).backend == "exact"
    assert f"at its highest effort within memory_budget={needed:,} bytes" in caplog.text


def test_the_choice_and_its_reason_are_logged(caplog):
    with caplog.at_level(logging.INFO, "rra_monitor"):
        rra.knn_graph(torch.rand(100, 3, generator=torch.Generator().manual_seed(0)), 5)
    assert "exact for n=100, d=3, k=5: predicted" in caplog.text
