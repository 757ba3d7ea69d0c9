import pytest

import rra_monitor as rra


@pytest.mark.parametrize(
    ("layer", "key"),
    [
        ("layer2.0", "rra/p/id/layer2/0"),
        ("layer2.0@max-global", "rra/p/id/layer2/0-max-global"),
        ("relu#2", "rra/p/id/relu-2"),
        ("größe: ü", "rra/p/id/gr--e---"),
        (None, "rra/p/id"),
    ],
)
def test_metric_key_has_no_character_that_a_dashboard_trips_over(layer, key):
    assert rra.metric_key("p", "id", layer) == key
