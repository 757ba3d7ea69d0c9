import dataclasses

from tests.helpers.curves import kinds, snapshot


def pooled_snapshot(full, avg2, avg_global):
    """Two blocks of one stage, with the same NNCS."""
    layers = [name for block in ("s.0", "s.1") for name in (block, f"{block}@avg2", f"{block}@avg-global")]
    found = snapshot(layers=("input", *layers), nncs=[full, *([full, avg2, avg_global] * 2)])
    settings = dataclasses.replace(found.settings, views=("full", "avg2", "avg8", "avg-global"))
    aliases = {f"{block}@avg8": f"{block}@avg-global" for block in ("s.0", "s.1")}
    return dataclasses.replace(found, settings=settings, aliases=aliases)


def test_the_window_of_highest_nncs_is_found_per_stage():
    found = kinds(pooled_snapshot(0.5, 0.7, 0.6))
    assert set(found) == {"pooling_window"}
    assert found["pooling_window"].layers == ("s.0", "s.1")
    assert found["pooling_window"].sentence == (
        "train: average pooling of s separates the classes best with windows of 2: NNCS 0.700 against 0.500 unpooled; "
        "0.100 above the next best, windows of 8."
    )
    assert "within the sampling error" in kinds(pooled_snapshot(0.5, 0.7, 0.69))["pooling_window"].sentence


def test_no_window_is_found_where_pooling_does_not_help():
    assert kinds(pooled_snapshot(0.5, 0.52, 0.4)) == {}
    assert kinds(pooled_snapshot(0.7, 0.5, 0.6)) == {}
