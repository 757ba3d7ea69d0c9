"""Networks that are spread over processes."""

import pytest
import torch
from torch import nn

from rra_monitor.capture.features import find_layers
from rra_monitor.capture.spread import check_whole, is_sharded, is_tensor_parallel
from rra_monitor.capture.together import entered_together
from rra_monitor.samples.sample import FixedSample
from tests.helpers.ranks.start import outcomes, shards_on_a_cpu


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each rank found, by rank."""
    return outcomes("spread_ranks.py", 2, tmp_path_factory.mktemp("spread"))


@pytest.mark.parametrize("kind", [pytest.param("by module", marks=shards_on_a_cpu), "flat"])
class TestSharded:
    def test_a_rank_that_fails_in_a_pass_holds_no_other_up(self, ranks, kind):
        here, there = (found[kind]["said"] for found in ranks)
        assert here[::2] == ["measured"] * 4
        assert there[::2] == ["measured", *["this rank is out of luck"] * 2, "measured"]

    def test_nor_does_one_that_fails_in_the_very_first_pass(self, ranks, kind):
        here, there = (found[kind]["failing at once"] for found in ranks)
        assert here == ["measured", [0, 0], True]
        assert there == ["at once", [0, 0], True]

    def test_parameters_are_sharded_after_the_passes_and_none_is_on_record(self, ranks, kind):
        assert [found[kind]["said"][1::2] for found in ranks] == [[[0, 0]] * 4] * 2

    def test_training_is_the_same_bit_by_bit_with_passes_that_fail_end_early_or_are_left_out(self, ranks, kind):
        assert [found[kind]["same weights"] for found in ranks] == [True, True]

    def test_features_of_each_ranks_own_rows_are_those_of_the_plain_network(self, ranks, kind):
        assert [found[kind]["differ by"] for found in ranks] == pytest.approx([0, 0], abs=1e-6)

    def test_layers_are_named_and_found_as_in_the_plain_network(self, ranks, kind):
        for found in ranks:
            assert found[kind]["layers"] == ["early", "mid.0", "late", "head"]
            assert found[kind]["auto"] == ["input", "early", "mid.0", "mid.1", "late", "head"]

    def test_it_is_told_from_other_networks(self, ranks, kind):
        assert [found[kind]["kind"] for found in ranks] == [[True, False]] * 2

    def test_attributes_are_put_back(self, ranks, kind):
        if kind == "by module":
            assert [found[kind]["calls counted"] for found in ranks] == [0, 0]


class TestTensorParallel:
    def test_layers_with_a_part_of_the_features_are_left_out_and_said(self, ranks):
        for found in ranks:
            assert found["split"]["layers"] == ["input", "3", "4"]
            (said,) = found["split"]["said"]
            assert said.startswith("not measured: '0' returns one rank's part of the features")

    def test_by_name_they_are_refused(self, ranks):
        for found in ranks:
            assert "layer '1' cannot be watched: it returns one rank's part" in found["split, by name"]["refused"]
            assert "watch the row-wise parallel layer" in found["split, by name"]["refused"]

    @pytest.mark.parametrize("kind", ["split", "split, distributed tensors"])
    def test_features_are_those_of_the_plain_network(self, ranks, kind):
        assert [found[kind]["differ by"] for found in ranks] == pytest.approx([0, 0], abs=1e-5)

    def test_distributed_tensors_are_gathered(self, ranks):
        for found in ranks:
            assert found["split, distributed tensors"]["layers"] == ["0", "1", "2"]

    def test_parameters_are_as_before(self, ranks):
        assert [found["split"]["same weights"] for found in ranks] == [True, True]

    def test_it_is_told_from_other_networks(self, ranks):
        assert [found["split"]["kind"] for found in ranks] == [[False, True]] * 2

    @shards_on_a_cpu
    def test_within_a_sharded_network_too(self, ranks):
        for found in ranks:
            assert found["sharded and split"]["kind"] == [True, True]
            assert found["sharded and split"]["layers"] == ["input", "2"]


def test_outputs_are_the_rows_of_this_rank_with_all_features(ranks):
    whole = torch.arange(24.0).reshape(4, 6).tolist()
    for rank, found in enumerate(ranks):
        rows = whole[2 * rank : 2 * rank + 2]
        assert found["outputs"] == {"rows": rows, "features": whole, "everywhere": whole, "sums": whole}


class _PipelineStageBase:
    """As torch.distributed.pipelining names the class of a stage."""


class PipelineStage(_PipelineStageBase):
    pass


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.stage = nn.Linear(2, 2), PipelineStage()


def test_the_class_of_a_pipelines_stage_has_that_name():
    from torch.distributed.pipelining import PipelineStage as Real
    from torch.distributed.pipelining import Schedule1F1B

    assert "_PipelineStageBase" in [base.__name__ for base in Real.__mro__]
    assert "_PipelineSchedule" in [base.__name__ for base in Schedule1F1B.__mro__]


@pytest.mark.parametrize(
    ("model", "subject"), [(PipelineStage(), "PipelineStage is"), (Holder(), "Holder holds PipelineStage")]
)
def test_a_stage_of_a_pipeline_is_refused(model, subject):
    with pytest.raises(ValueError, match=f"^{subject}.* one stage of a pipeline"):
        check_whole(model)


def test_a_stage_of_a_pipeline_is_refused_at_fit_start():
    with pytest.raises(ValueError, match="one stage of a pipeline"):
        find_layers(Holder(), FixedSample.from_tensors(torch.rand(6, 2), torch.arange(6) % 2))


def test_a_network_in_one_piece_is_none_of_these():
    net = nn.DataParallel(nn.Sequential(nn.Linear(2, 2)))
    check_whole(net)
    assert not is_sharded(net)
    assert not is_tensor_parallel(net)
    with entered_together(net, 2) as end_pass:
        end_pass()
