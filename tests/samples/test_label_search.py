import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

import rra_monitor as rra
from rra_monitor.samples.labels import classes_of
from tests.helpers.borrowed_data import Counted, content

RNG = np.random.default_rng(0)


def x(index):
    return torch.full((3,), float(index))


class Items(Dataset):
    """Items of a function of their index."""

    def __init__(self, item, n=600, **attributes):
        self.item, self.n = item, n
        self.__dict__ |= attributes

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return self.item(index)


def drawn(dataset, n=120, **options):
    """A sample, and what is said about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sample = rra.FixedSample.from_dataset(dataset, n, **options)
    return sample, [str(warning.message) for warning in caught]


def long_tail(classes, n, ratio):
    share = ratio ** (-np.arange(classes) / (classes - 1))
    return RNG.choice(classes, n, p=share / share.sum())


CLASSES = {
    "CIFAR-10": RNG.permutation(50_000) % 10,
    "few of each of 100": RNG.integers(0, 100, 400),
    "long tail, sorted": long_tail(100, 10_000, 100),
    "1,000 of 5": np.repeat(np.arange(1000), 5),
    "8,142 of a long tail": long_tail(8142, 400_000, 500),
    "COCO's ids": RNG.choice(np.setdiff1d(np.arange(1, 91), [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]), 5000),
    "the second half of 100": 50 + np.arange(25_000) % 50,
    "from 1 on": 1 + np.arange(6000) % 200,
    "three ids": RNG.choice([3, 5, 900], 300),
    "-1 and 1": RNG.choice([-1, 1], 100),
    "-2 to 2": RNG.integers(-2, 3, 500),
    "names": np.array([f"class {index % 7}" for index in range(300)]),
    "floats": RNG.integers(0, 2, 100).astype(float),
    "truth values": RNG.integers(0, 2, 100).astype(bool),
    "one-hot": np.eye(10)[RNG.integers(0, 10, 100)],
    "a column": (np.arange(100) % 4)[:, None],
}

QUANTITIES = {
    "uniform ages": RNG.integers(18, 90, 5000),
    "few ages": RNG.integers(18, 90, 256),
    "ages": np.clip(RNG.normal(40, 15, 20_000), 0, 110).astype(int),
    "prices": RNG.lognormal(12, 0.5, 20_000).astype(int),
    "rounded prices": (RNG.lognormal(12, 0.5, 20_000) / 1000).astype(int) * 1000,
    "counts": RNG.gamma(1, 190, 17_000).astype(int),
    "counts around 50": RNG.poisson(50, 5000),
    "years": RNG.integers(1922, 2011, 50_000),
    "an index": np.arange(256),
    "a shuffled index": RNG.permutation(256),
    "floats": RNG.integers(18, 90, 5000).astype(float),
    "fractions": RNG.random(100),
    "several classes at once": (RNG.random((100, 8)) < 0.4).astype(int),
}


class TestClassesOf:
    @pytest.mark.parametrize("kind", CLASSES)
    def test_classes_are_classes(self, kind):
        verdict = classes_of(CLASSES[kind], positions=np.arange(len(CLASSES[kind])))
        assert verdict.labels is not None, verdict.reason
        assert verdict.known.all()

    @pytest.mark.parametrize("kind", QUANTITIES)
    def test_quantities_are_none(self, kind):
        verdict = classes_of(QUANTITIES[kind], positions=np.arange(len(QUANTITIES[kind])))
        assert verdict.labels is None
        assert verdict.reason

    @pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind != "8,142 of a long tail"])
    def test_classes_are_seen_in_some_items(self, kind):
        some = RNG.permutation(len(CLASSES[kind]))[:2000]
        verdict = classes_of(list(CLASSES[kind][some]), complete=False, positions=some)
        assert verdict.labels is not None, verdict.reason

    @pytest.mark.parametrize("kind", QUANTITIES)
    def test_quantities_are_seen_in_some_items(self, kind):
        some = RNG.permutation(len(QUANTITIES[kind]))[:2000]
        assert classes_of(list(QUANTITIES[kind][some]), complete=False, positions=some).labels is None

    @pytest.mark.parametrize(
        ("values", "known"),
        [
            ([-1, 0, 1, 2, 0, 1], [0, 1, 1, 1, 1, 1]),
            ([-100, 0, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]),
            ([0.0, float("nan"), 1.0, 1.0, 0.0, 0.0], [1, 0, 1, 1, 1, 1]),
            (["a", None, "b", "a", "b", "a"], [1, 0, 1, 1, 1, 1]),
            ([-1, -2, 0, 1, 2, 3, 1, 2, 3, 0], [0, 0, 1, 1, 1, 1, 1, 1, 1, 1]),
            ([-1, 1, 1, -1], [1, 1, 1, 1]),
            ([-1, -1, -1, -1], [0, 0, 0, 0]),
        ],
    )
    def test_markers_of_unlabelled_samples_are_no_class(self, values, known):
        assert classes_of(values).known.tolist() == known


class TestStoredLabels:
    @pytest.mark.parametrize(
        "attributes",
        [
            {"img_labels": torch.arange(600) % 4},
            {"y": np.arange(600) % 4},
            {"_classes": [index % 4 for index in range(600)]},
            {"samples": [(f"{index}.jpg", index % 4) for index in range(600)]},
            {"annotations": [{"path": f"{index}.jpg", "label": index % 4} for index in range(600)]},
            {"table": {"path": [f"{index}.jpg" for index in range(600)], "kind": np.arange(600) % 4}},
            {"dataset": Items(lambda index: x(index), targets=torch.arange(600) % 4)},
            {"onehot": torch.eye(4)[torch.arange(600) % 4]},
        ],
        ids=lambda attributes: next(iter(attributes)),
    )
    def test_a_column_of_any_name_makes_a_balanced_draw(self, attributes):
        sample, said = drawn(Items(lambda index: (x(index), index % 4), **attributes))
        assert np.bincount(sample.labels).tolist() == [30] * 4
        assert said == []

    def test_names_of_classes_in_a_column_are_their_sorted_order(self):
        names = ["cat", "ant", "bee"]
        data = Items(lambda index: (x(index), names[index % 3]), kind=[names[index % 3] for index in range(600)])
        sample, said = drawn(data)
        assert (sample.labels == np.array([2, 0, 1])[sample.ids % 3]).all()
        assert said == []

    def test_a_column_that_the_items_do_not_have_is_not_used(self):
        sample, said = drawn(Items(lambda index: (x(index), index % 4), kind=torch.arange(600) % 5))
        assert (sample.labels == sample.ids % 4).all()
        assert "no attribute of the data set holds those of all items" in said[0]

    def test_a_column_of_the_domain_does_not_hide_the_class(self):
        data = Items(lambda index: (x(index), index // 2 % 4, index % 2), hospital=torch.arange(600) % 2)
        sample, said = drawn(data)
        assert (sample.labels == sample.ids // 2 % 4).all()
        assert "the entries 1, 2 of the items all look like classes, and 1 is taken" in said[0]

    def test_parts_of_sets_without_targets_are_seen_through(self):
        data = Items(lambda index: (x(index), index % 4), img_labels=torch.arange(600) % 4)
        part = ConcatDataset([Subset(data, range(0, 300)), Subset(data, range(400, 600))])
        sample, said = drawn(part)
        assert np.bincount(sample.labels).tolist() == [30] * 4
        assert said == []

    def test_an_attribute_that_raises_is_passed_over(self):
        class Odd(Items):
            @property
            def targets(self):
                raise RuntimeError("not downloaded")

        sample, _ = drawn(Odd(lambda index: (x(index), index % 4), img_labels=torch.arange(600) % 4))
        assert np.bincount(sample.labels).tolist() == [30] * 4

    def test_columns_of_hugging_face_are_read_without_decoding(self):
        class ClassLabel:
            pass

        class Image:
            pass

        class Arrow(Items):
            features = {"image": Image(), "fine_label": ClassLabel()}  # noqa: RUF012
            column_names = ["image", "fine_label"]  # noqa: RUF012

            def with_format(self, kind):
                return self

            def __getitem__(self, index):
                if isinstance(index, str):
                    assert index == "fine_label"
                    return [index % 4 for index in range(600)]
                return {"image": x(index), "fine_label": index % 4}

        sample, said = drawn(Arrow(None))
        assert np.bincount(sample.labels).tolist() == [30] * 4
        assert set(sample.read(range(2))) == {"image"}
        assert said == []

    def test_the_draw_of_the_same_labels_is_the_same_however_they_are_stored(self):
        plain = drawn(TensorDataset(torch.arange(600.0)[:, None], torch.arange(600) % 4))[0]
        assert (drawn(Items(lambda index: (x(index), index % 4), y=np.arange(600) % 4))[0].ids == plain.ids).all()


class TestLabelsOfItems:
    def test_a_large_data_set_is_sampled_and_never_read_whole(self, tmp_path):
        dataset = Counted(tmp_path, n=20_000)
        del dataset.targets
        dataset.__class__ = type("Plain", (Counted,), {"__getitem__": read_item})
        sample, said = drawn(dataset, n=200)
        assert dataset.reads <= 200 + 32
        assert (sample.labels == sample.ids % 4).all()
        assert len(said) == 1
        assert "the labels of 200 items drawn at random" in said[0]

    @pytest.mark.parametrize(
        ("item", "label"),
        [
            (lambda index: (x(index), index % 5, index), lambda ids: ids % 5),
            (lambda index: (x(index), index % 5, f"{index}.jpg"), lambda ids: ids % 5),
            (lambda index: (x(index), index, index % 5), lambda ids: ids % 5),
            (lambda index: (x(index), index % 5, index % 2), lambda ids: ids % 5),
            (lambda index: (x(index), torch.eye(5)[index % 5]), lambda ids: ids % 5),
            (lambda index: (x(index), np.array([index % 5])), lambda ids: ids % 5),
            (lambda index: (x(index), index % 2 == 0), lambda ids: (ids % 2 == 0).astype(int)),
            (lambda index: {"image": x(index), "category": "ab"[index % 2], "id": index}, lambda ids: ids % 2),
            (lambda index: {"image": x(index), "coarse_label": index % 2, "label": index % 5}, lambda ids: ids % 5),
        ],
        ids=range(9),
    )
    def test_the_class_is_found_among_the_entries(self, item, label):
        sample, _ = drawn(Items(item))
        assert (sample.labels == label(sample.ids)).all()

    @pytest.mark.parametrize("item", [lambda i: (x(i), i % 5, i), lambda i: (x(i), i % 5, i % 3), lambda i: (x(i), i)])
    def test_the_inputs_are_what_stands_before_the_class(self, item):
        assert torch.equal(
            drawn(Items(item))[0].read(range(1)).long()[0, 0], torch.tensor(drawn(Items(item))[0].ids[0])
        )

    @pytest.mark.parametrize(
        ("target", "words"),
        [
            (lambda index: 18 + index * 7 % 71, "from 18 on"),
            (lambda index: index * 1000 + 150_000, "number the items"),
            (lambda index: index * 7919 % 600, "take 600 different values in 600 items"),
            (lambda index: index / 7, "are not whole numbers"),
            (lambda index: torch.tensor([1.0, 1.0, index % 2, 0.0]), "name several classes at once"),
        ],
        ids=["ages", "prices", "shuffled", "fractions", "multi-label"],
    )
    @pytest.mark.parametrize("stored", [False, True])
    def test_what_is_no_class_makes_an_unlabelled_sample_and_a_line(self, target, words, stored):
        attributes = {"targets": [target(index) for index in range(600)]} if stored else {}
        sample, said = drawn(Items(lambda index: (x(index), target(index)), **attributes), n=600, shrink=True)
        assert sample.labels is None
        assert sample.n == 600
        assert len(said) == 1
        assert words in said[0]
        assert "FixedSample.from_dataset(…, labels=…)" in said[0]

    @pytest.mark.parametrize("stored", [False, True])
    @pytest.mark.parametrize(("share", "labelled"), [(0.5, True), (0.1, False)])
    def test_samples_without_a_label_are_left_out_if_enough_have_one(self, share, labelled, stored):
        classes = np.where(np.random.default_rng(0).random(2000) < share, np.arange(2000) % 5, -1)
        attributes = {"targets": classes} if stored else {}
        data = Items(lambda index: (x(index), int(classes[index])), 2000, **attributes)
        sample, said = drawn(data, n=500, shrink=True)
        if labelled:
            assert sample.n > 400
            assert (sample.labels == classes[sample.ids]).all()
            assert (sample.labels >= 0).all()
            assert (sample.read(range(sample.n))[:, 0].numpy() == sample.ids).all()
        else:
            assert sample.labels is None
            assert sample.n == 500
            assert "unlabelled" in said[0]

    @pytest.mark.parametrize("stored", [False, True])
    @pytest.mark.parametrize("labelled", [0, 2])
    def test_a_split_whose_labels_are_kept_back_is_unlabelled(self, labelled, stored):
        classes = [index if index < labelled else -1 for index in range(4 if labelled else 600)]
        data = Items(lambda index: (x(index), classes[index]), len(classes), **({"labels": classes} if stored else {}))
        sample, said = drawn(data, n=200, shrink=True)
        assert sample.labels is None
        assert sample.n == min(200, len(classes))
        assert "unlabelled" in said[0]

    def test_data_without_labels_need_no_line(self):
        for item in (x, lambda index: {"image": x(index)}, lambda index: (x(index),)):
            sample, said = drawn(Items(item))
            assert sample.labels is None
            assert said == []

    def test_a_label_that_does_not_collate_is_no_obstacle(self):
        sample, _ = drawn(Items(lambda index: (x(index), index % 3, None, {"boxes": torch.zeros(index % 5, 4)})))
        assert (sample.labels == sample.ids % 3).all()


class TestNamedLabels:
    def test_a_key_a_position_and_a_function_name_the_label(self):
        tuples = Items(lambda index: (x(index), index % 2, index % 5))
        keys = Items(lambda index: {"image": x(index), "label": index % 2, "kind": index % 5})
        for data, labels in ((tuples, 2), (tuples, -1), (keys, "kind"), (tuples, lambda item: item[2])):
            sample, said = drawn(data, labels=labels)
            assert (sample.labels == sample.ids % 5).all()
            assert len(said) == 1

    def test_what_is_named_is_not_doubted(self):
        ages = [18 + index % 71 for index in range(600)]
        data = Items(lambda index: (x(index), ages[index]), targets=ages)
        assert drawn(data, n=142)[0].labels is None
        sample, said = drawn(data, n=142, labels=1)
        assert sample.classes == 71
        assert said == []
        assert drawn(data, labels=lambda item: item[1] // 10)[0].classes == 8

    def test_a_function_that_gives_none_leaves_the_item_out(self):
        data = Items(lambda index: (x(index), index % 5))
        sample, _ = drawn(data, labels=lambda item: None if item[1] == 4 else item[1])
        assert sample.n == 120
        assert set(sample.labels) == {0, 1, 2, 3}
        assert (sample.labels == sample.ids % 5).all()

    @pytest.mark.parametrize(
        ("labels", "words"),
        [
            ("kind", "the items are tuples of 2 entries"),
            (2, "the items are tuples of 2 entries"),
            (lambda item: item[1] / 7, "gives values that are not whole numbers"),
        ],
    )
    def test_what_cannot_be_a_label_is_refused(self, labels, words):
        with pytest.raises(ValueError, match=words):
            drawn(Items(lambda index: (x(index), index % 5)), labels=labels)
        with pytest.raises(ValueError, match="the items have the keys 'image', 'label'"):
            drawn(Items(lambda index: {"image": x(index), "label": index % 5}), labels="kind")


def read_item(self, index):
    self.note()
    return torch.from_numpy(content(index)), index % 4
