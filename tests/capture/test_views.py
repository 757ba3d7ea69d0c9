import itertools

import pytest
import torch
from torch.nn import functional

from rra_monitor.capture.views import checked_views, pooled, pooled_dim, resolve
from tests.helpers.views import EVERY


class TestPooled:
    def test_windows_of_two_by_hand(self):
        plane = torch.tensor(
            [[[[1.0, 3.0, 0.0, 8.0], [5.0, 7.0, 4.0, 0.0], [2.0, 2.0, 1.0, 1.0], [2.0, 6.0, 1.0, 9.0]]]]
        )
        assert pooled(plane, "avg2").tolist() == [[[[4.0, 3.0], [3.0, 3.0]]]]
        assert pooled(plane, "max2").tolist() == [[[[7.0, 8.0], [6.0, 9.0]]]]
        assert pooled(plane, "avg-global").tolist() == [[3.25]]
        assert pooled(plane, "max-global").tolist() == [[9.0]]

    def test_a_border_that_does_not_fill_a_window_is_left_out(self):
        plane = torch.arange(15.0).reshape(1, 1, 3, 5)
        assert pooled(plane, "avg2").tolist() == [[[[3.0, 5.0]]]]
        assert pooled(plane, "max2").tolist() == [[[[6.0, 8.0]]]]

    def test_a_side_shorter_than_the_window_is_pooled_whole(self):
        plane = torch.arange(16.0).reshape(1, 1, 2, 8)
        assert pooled(plane, "max4").tolist() == [[[[11.0, 15.0]]]]

    @pytest.mark.parametrize("window", [1, 2, 3, 4, 5])
    @pytest.mark.parametrize("dims", [1, 2, 3])
    def test_windows_are_torchs(self, dims, window):
        maps = torch.randn(6, 3, *(5, 7, 6)[:dims], dtype=torch.float64)
        for kind in ("avg", "max"):
            torchs = getattr(functional, f"{kind}_pool{dims}d")(maps, window)
            torch.testing.assert_close(pooled(maps, f"{kind}{window}").reshape(torchs.shape), torchs)

    def test_global_views_keep_the_channels_apart(self):
        maps = torch.randn(4, 3, 8, 8)
        assert (pooled(maps, "avg-global") == functional.adaptive_avg_pool2d(maps, 1).flatten(1)).all()
        assert (pooled(maps, "max-global") == functional.adaptive_max_pool2d(maps, 1).flatten(1)).all()

    def test_tokens_are_pooled_over_tokens(self):
        tokens = torch.tensor([[[1.0, 10.0], [3.0, 30.0], [5.0, 0.0]]])
        assert pooled(tokens, "avg2", channels_last=True).tolist() == [[[2.0, 20.0]]]
        assert pooled(tokens, "max-global", channels_last=True).tolist() == [[5.0, 30.0]]
        assert pooled(tokens, "avg-global", channels_last=True).tolist() == pytest.approx(torch.tensor([[3.0, 40 / 3]]))
        assert pooled(tokens, "class-token", channels_last=True).tolist() == [[1.0, 10.0]]

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8])
    def test_averages_are_not_rounded_to_the_captures_precision(self, dtype):
        maps = torch.randint(0, 255, (5, 2, 16, 16)).to(dtype)
        assert pooled(maps, "avg-global").dtype is torch.float32
        torch.testing.assert_close(pooled(maps, "avg-global"), maps.double().mean((2, 3)).float())
        assert pooled(maps, "full") is maps

    def test_the_full_view_is_the_features_themselves(self):
        vectors = torch.randn(4, 10)
        assert all(pooled(vectors, view) is vectors for view in EVERY)

    def test_a_class_token_is_of_tokens_alone(self):
        with pytest.raises(ValueError, match=r"shape \(4, 3, 8, 8\) have no 'class-token'"):
            pooled(torch.randn(4, 3, 8, 8), "class-token")

    @pytest.mark.parametrize("view", EVERY)
    def test_the_number_of_features_is_known_from_the_shape(self, view):
        for shape in [(10,), (3, 9), (3, 8, 8), (3, 1, 1), (2, 5, 6, 7)]:
            assert pooled_dim(shape, view) == pooled(torch.randn(2, *shape), view)[0].numel()


class TestCheckedViews:
    @pytest.mark.parametrize("view", ["avg", "avg0", "avg02", "mean2", "global", "avg-2", "Avg2", "max_global", "", 2])
    def test_unknown_views_are_refused_with_the_valid_forms(self, view):
        with pytest.raises(ValueError, match=r"unknown view .*'avg-global', 'max-global', 'class-token'"):
            checked_views(["full", view])

    def test_the_full_view_is_never_missing(self):
        with pytest.raises(ValueError, match=r"lacks 'full'.*pass \('full', 'avg2'\)"):
            checked_views(["avg2"])
        assert checked_views("full") == ("full",)
        assert checked_views(["full", "avg2", "avg2"]) == ("full", "avg2")


class TestResolve:
    def test_windows_as_large_as_the_map_are_the_global_view(self):
        found = resolve((64, 8, 8), EVERY)
        assert found["avg8"] == "avg-global"
        assert found["max8"] == "max-global"
        assert [view for view, same in found.items() if view == same] == [
            view for view in EVERY if not view.endswith("8")
        ]
        assert resolve((64, 4, 8), ["avg4", "avg8"]) == {"avg4": "avg4", "avg8": "avg-global"}

    @pytest.mark.parametrize("shape", [(), (10,), (64, 1, 1), (64, 1)])
    def test_layers_without_spatial_extent_have_the_full_view_only(self, shape):
        assert set(resolve(shape, EVERY).values()) == {"full"}

    def test_windows_of_one_are_the_full_view(self):
        assert resolve((3, 4, 4), ["avg1", "max1"]) == {"avg1": "full", "max1": "full"}

    @pytest.mark.parametrize("shape", [(3, 8, 8), (3, 5, 2), (4, 7), (2, 1, 6), (3, 1, 1), (9,)])
    def test_views_have_one_name_where_and_only_where_they_hold_the_same_numbers(self, shape):
        features = torch.randn(100, *shape)
        views = {view: pooled(features, view).flatten(1) for view in [*EVERY, "avg1", "avg16", "max3"]}
        found = resolve(shape, views)
        for a, b in itertools.combinations(views, 2):
            same = views[a].shape == views[b].shape and torch.allclose(views[a], views[b])
            assert (found[a] == found[b]) == same, (a, b)
