"""Which layers are captured together and which in parts, and what is refused."""

import pytest
import torch

import rra_monitor as rra
from rra_monitor.capture.layer import Layer
from rra_monitor.measure.memory_plan import Case, Wanted, passes_of, stages
from rra_monitor.measure.quantities import with_standard

MIB = 1 << 20


def layers(*dims, **more):
    return [Layer(f"{place}", f"{place}", 0, (dim,), **more) for place, dim in enumerate(dims)]


def planned(given, budget, **case):
    """The names of the layers of each stage, whole ones with a plus between them, those in parts with a slash."""
    ahead = stages(given, Case(**({"n": 200, "k": 5} | case)), budget)
    return [("+" if stage.whole else "/").join(layer.name for layer in stage.layers) for stage in ahead]


class TestStages:
    """Layers of 200 samples: 8 MB at 10,000 features. A graph takes some 8 MB."""

    def test_all_are_captured_together_where_they_fit(self):
        assert planned(layers(10_000, 10_000, 10_000), 34 * MIB) == ["0+1+2"]

    def test_as_many_as_fit_are_captured_together(self):
        assert planned(layers(*[10_000] * 5), 20 * MIB) == ["0+1", "2+3", "4"]

    def test_a_layer_that_does_not_fit_comes_in_parts(self):
        assert planned(layers(100, 100_000, 100_000, 100, 10_000), 26 * MIB) == ["0", "1/2", "3+4"]

    def test_the_last_graph_needs_room_beside_its_own_features_alone(self):
        # All features fit, and the graph of a layer once the first ones are gone.
        assert planned(layers(10, 10_000, 10_000, 20_000), 41 * MIB) == ["0+1+2+3"]

    def test_half_precision_takes_half(self):
        assert planned(layers(10_000, 10_000, 10_000, dtype=torch.bfloat16), 22 * MIB) == ["0+1+2"]
        assert planned(layers(10_000, 10_000, 10_000, dtype=torch.float64), 22 * MIB) != ["0+1+2"]

    def test_copies_of_the_network_take_room(self):
        assert planned(layers(10_000, 10_000), 26 * MIB) == ["0+1"]
        assert planned(layers(10_000, 10_000), 26 * MIB, state=15 * MIB) == ["0", "1"]

    @pytest.mark.parametrize(("name", "held"), [("cka", True), ("effective_rank", False)])
    def test_kernels_of_pairs_are_held_until_the_end(self, name, held):
        # n² numbers of 8 bytes: 32 MB each.
        case = {"n": 2000, "k": 20, "wanted": Wanted.by(with_standard([name]))}
        ahead = stages(layers(*[4000] * 6), Case(**case), 260 * MIB)
        assert [stage.budget < 260 * MIB for stage in ahead][-1] == held

    def test_a_descent_has_its_room(self):
        assert planned(layers(1000, 1000), 60 * MIB, n=4000, backend="exact") == ["0+1"]
        assert planned(layers(1000, 1000), 60 * MIB, n=4000, backend="nndescent") != ["0+1"]


def test_whole_layers_take_at_most_few_passes_more_than_their_bytes_over_the_budget():
    case = Case(n=200, k=5)
    for dims in ([40_000] * 20, [70_000] * 20, [30_000, 60_000, 90_000, 120_000] * 5):
        budget = 64 * MIB
        passes = passes_of(stages(layers(*dims), case, budget), case)
        assert len(passes) <= 2.2 * 4 * 200 * sum(dims) / budget + 2


def test_a_pass_ends_at_the_last_layer_that_it_serves():
    case = Case(n=200, k=5)
    passes = passes_of(stages(layers(10, 100_000, 10), case, 26 * MIB), case)
    assert [one.last.name for one in passes] == ["0", *["1"] * (len(passes) - 2), "2"]


def test_ranks_have_room_for_their_own_part_beside_that_of_all():
    (layer,) = layers(100_000)
    widest = {}
    for ranks in (1, 2):
        case = Case(n=200, k=5, ranks=ranks)
        passes = passes_of(stages([layer], case, 26 * MIB), case)
        widest[ranks] = max(part.stop - part.start for one in passes for part in (one.parts or {}).values())
    assert widest[2] == pytest.approx(widest[1] / 1.5, rel=1e-3)


@pytest.mark.parametrize("quantities", [[], ["cka"]])
def test_a_budget_below_the_least_part_of_a_layer_is_refused_when_it_is_planned(quantities, small_net, sample):
    monitor = rra.Monitor({"p": sample}, memory_budget=20_000, quantities=quantities)
    with pytest.raises(
        ValueError, match=r"layer 'input': memory_budget=20,000 bytes is below one block.*at least"
    ) as e:
        monitor.plan(small_net)
    needed = int(str(e.value).split("at least ")[1].split(".")[0].replace(",", ""))
    with pytest.raises(ValueError, match="memory_budget"):
        rra.Monitor({"p": sample}, memory_budget=needed - 1, layers=["input"], quantities=quantities).plan(small_net)
    rra.Monitor({"p": sample}, memory_budget=needed, layers=["input"], quantities=quantities).plan(small_net)
