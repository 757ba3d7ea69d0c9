import math

import numpy as np
import pytest

import rra_monitor as rra
from rra_monitor.measure.description import described, described_only, present_quantities
from rra_monitor.measure.quantities import KNOWN, ON_REQUEST, STANDARD, with_standard
from tests.helpers.snapshots import snapshot_of


def nearest(graph, labels):
    return graph.distances[:, 0].mean()


OWN = rra.Quantity("nearest", nearest, title="Nearest distance", unit="features", low=0, chance=0.25, digits=4)


class TestQuantity:
    def test_a_name_and_a_function_are_enough(self):
        found = rra.Quantity("mean_distance", nearest)
        assert (found.title, found.symbol, found.phrase) == ("Mean distance", "Mean distance", "mean distance")
        assert rra.Quantity("cka_2", nearest, title="CKA of two", symbol="C2").phrase == "CKA of two (C2)"

    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"name": "Mean"}, ValueError, "lower-case letters"),
            ({"name": "a b"}, ValueError, "lower-case letters"),
            ({"name": "nnls_mine"}, ValueError, "not 'nnls_' at the beginning"),
            ({"name": "layers"}, ValueError, "names something else in tables"),
            ({"compute": 5}, TypeError, "expected a function"),
            ({"of": "weights"}, ValueError, "'graph', 'gram'"),
            ({"rank": "top"}, ValueError, "'main', 'side', 'check'"),
            ({"better": "big"}, ValueError, "'higher', 'lower'"),
            ({"low": 1, "high": 0}, ValueError, "the lower one first"),
            ({"title": "a\x1b"}, ValueError, "printable letters"),
            ({"unit": "x" * 41}, ValueError, "up to 40"),
            ({"digits": 1.5}, ValueError, "whole number, 0 to 12"),
        ],
    )
    def test_what_cannot_be_shown_is_refused(self, options, error, words):
        with pytest.raises(error, match=words):
            rra.Quantity(**{"name": "mine", "compute": nearest} | options)

    def test_outside_finds_what_is_out_of_range_and_not_what_is_undefined(self):
        values = np.array([-1e-12, 0.5, 1.1, math.nan, math.inf])
        assert KNOWN["nncs"].outside(values, 1e-9).tolist() == [False, False, True, False, True]


class TestWithStandard:
    def test_standard_quantities_come_first_and_each_once(self):
        assert with_standard(()) == STANDARD
        assert with_standard(["cka", OWN, *STANDARD]) == (*STANDARD, KNOWN["cka"], OWN)

    @pytest.mark.parametrize(
        ("asked", "error", "words"),
        [
            (["rankme"], ValueError, "unknown quantity 'rankme'; choose from .*knn_accuracy, cka"),
            ("cka", TypeError, "expected a list of names"),
            ([5], TypeError, "expected a name, or Quantity"),
            ([rra.Quantity("mine")], TypeError, "has no function"),
            ([rra.Quantity("id", nearest)], ValueError, "two quantities would be named 'id'"),
            ([rra.Quantity("cka", nearest)], ValueError, "two quantities would be named 'cka'"),
            ([rra.Quantity("id_peak", nearest)], ValueError, "two quantities would be named 'id_peak'"),
            ([OWN, rra.Quantity("nearest", nearest)], ValueError, "two quantities would be named 'nearest'"),
        ],
    )
    def test_what_cannot_be_measured_is_refused(self, asked, error, words):
        with pytest.raises(error, match=words):
            rra.MonitorOptions(quantities=asked)


class TestDescription:
    def plain(self):
        return described([*STANDARD, *ON_REQUEST, OWN], snapshot_of(0).settings)

    def test_a_description_has_what_the_package_does_not_know_and_comes_back_without_its_function(self):
        (one,) = described_only(self.plain())
        assert one.compute is None
        for name in ("name", "title", "symbol", "unit", "low", "high", "digits", "rank", "depends_on_k", "chance"):
            assert getattr(one, name) == getattr(OWN, name), name
        assert present_quantities([one], ["nearest", "cka"]) == (*STANDARD, KNOWN["cka"], one)

    @pytest.mark.parametrize(
        "change",
        [
            {"name": "nncs"},
            {"name": 5},
            {"title": ["x"]},
            {"title": "a\x1b[2J"},
            {"symbol": "‮x"},
            {"low": "0"},
            {"high": 1e400},
            {"chance": True},
            {"digits": 10**9},
            {"rank": "top"},
            {"needs_labels": 1},
            {"of": "x" * 10**6},
            {"better": []},
        ],
    )
    def test_an_impossible_description_is_refused(self, change):
        with pytest.raises(ValueError, match="quantit"):
            described_only([self.plain()[0] | change])

    @pytest.mark.parametrize("found", [5, "x", {"name": "x"}, [5], [{}], [{"name": "x"}]])
    def test_what_is_no_description_is_refused(self, found):
        with pytest.raises(ValueError, match="quantit"):
            described_only(found)

    def test_a_quantity_described_twice_and_too_many_are_refused(self):
        with pytest.raises(ValueError, match="expected different ones"):
            described_only(self.plain() * 2)
        with pytest.raises(ValueError, match="at most 200"):
            described_only([self.plain()[0] | {"name": f"n{number}"} for number in range(201)])
