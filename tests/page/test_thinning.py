from rra_monitor.page.thinning import thinned
from tests.helpers.page_runs import made_up_run


def test_thinning_keeps_the_ends():
    run = thinned(made_up_run(epochs=range(100)), 7)
    assert [frame.epoch for frame in run.frames] == [0, 16, 33, 50, 66, 82, 99]
    assert run.probes["train"].curves["id"].shape[0] == 7
