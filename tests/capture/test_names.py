import itertools

from rra_monitor.capture.names import layer_view, merged_layers, split_view
from tests.helpers.views import EVERY


def test_names_come_apart_as_they_were_put_together():
    for layer, view in itertools.product(["fc", "layer2.0", "a@b", "relu#1"], [*EVERY, "class-token"]):
        assert split_view(layer_view(layer, view)) == (layer, view)


def test_layers_of_two_depths_are_merged_in_order():
    assert merged_layers(["abz", "abcz"]) == list("abcz")
    assert merged_layers(["abcz", "abz"]) == list("abcz")
    assert merged_layers(["ab", "cd"]) == list("cdab")
