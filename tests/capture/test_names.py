from rra_monitor.capture.names import merged_layers


def test_layers_of_two_depths_are_merged_in_order():
    assert merged_layers(["abz", "abcz"]) == list("abcz")
    assert merged_layers(["abcz", "abz"]) == list("abcz")
    assert merged_layers(["ab", "cd"]) == list("cdab")
