import logging

import torch

import rra_monitor as rra
from rra_monitor.graph.choose import choose

CPU = torch.device("cpu")


def test_many_neighbours_of_few_samples_are_found_exactly():
    assert choose(2_000, 3_072, 20, CPU, 0.95)[0] == "exact"
    assert choose(15_000, 16_384, 150, CPU, 0.95)[0] == "exact"


def test_few_neighbours_of_many_samples_with_few_features_are_found_by_descent():
    assert choose(100_000, 64, 10, CPU, 0.95)[0] == "nndescent"


def test_where_an_approximation_can_not_serve_the_graph_is_exact():
    assert choose(100_000, 64, 10, CPU, 0.999)[0] == "exact"
    assert choose(100_000, 64, 10, torch.device("cuda"), 0.95)[0] == "exact"
    assert choose(100, 64, 60, CPU, 0.5)[0] == "exact"


def test_the_choice_and_its_reason_are_logged(caplog):
    with caplog.at_level(logging.INFO, "rra_monitor"):
        rra.knn_graph(torch.rand(100, 3, generator=torch.Generator().manual_seed(0)), 5)
    assert "exact for n=100, d=3, k=5: predicted" in caplog.text
