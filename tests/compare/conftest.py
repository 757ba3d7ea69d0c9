"""Runs of two recipes, and their comparison."""

import pytest

import rra_monitor as rra
from tests.helpers.digit_runs import two_recipes


@pytest.fixture(scope="session")
def runs(digits, tmp_path_factory):
    return two_recipes(tmp_path_factory.mktemp("runs"), digits)


@pytest.fixture(scope="session")
def found(runs):
    return rra.compare_runs(runs)
