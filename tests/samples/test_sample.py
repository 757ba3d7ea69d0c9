import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

import rra_monitor as rra
from rra_monitor.samples import sample as sample_module


class Items(Dataset):
    """A data set of given items, without `targets`."""

    def __init__(self, items):
        self.items = items
        self.reads = 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.reads += 1
        return self.items[index]


class Noisy(TensorDataset):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image + torch.rand(()) * (random.random() < 0.5), label


class Lying:
    """A data set that has fewer items than it says, or none to speak of."""

    def __init__(self, items, length):
        self.items, self.length = items, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.items[index]


def streams():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


class TestFixedSample:
    def test_the_draw_is_balanced_shuffled_and_without_replacement(self, dataset):
        sample = rra.FixedSample.from_dataset(dataset, n=203, seed=0)
        _, counts = np.unique(sample.labels, return_counts=True)
        assert sorted(counts) == [20] * 7 + [21] * 3
        assert len(set(sample.ids)) == 203
        assert (np.diff(sample.labels) != 0).sum() > 100

    def test_the_draw_depends_on_the_seed_alone(self, dataset):
        first, again, other = (rra.FixedSample.from_dataset(dataset, n=100, seed=seed) for seed in (3, 3, 4))
        assert (first.ids == again.ids).all()
        assert first.fingerprint == again.fingerprint
        assert (first.ids != other.ids).any()

    def test_ids_and_labels_belong_to_the_inputs(self, dataset, digits):
        sample = rra.FixedSample.from_dataset(dataset, n=50)
        inputs = torch.cat(list(sample.batches(7)))
        assert (inputs == digits[0][sample.ids]).all()
        assert (sample.labels == digits[1][sample.ids].numpy()).all()

    def test_building_and_reading_consume_no_global_random_numbers(self, dataset):
        before = streams()
        sample = rra.FixedSample.from_dataset(dataset, n=100)
        list(sample.batches())
        assert streams() == before
        with pytest.raises(ValueError, match="random transform"):
            rra.FixedSample.from_dataset(Noisy(*dataset.tensors), n=100)
        assert streams() == before

    def test_a_large_sample_is_read_once_and_is_the_same(self, dataset, monkeypatch, tmp_path):
        kept = rra.FixedSample.from_dataset(dataset, n=60)
        monkeypatch.setattr(sample_module, "MATERIALISE_BYTES", 0)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        items = Items([dataset[i] for i in range(len(dataset))])
        items.targets = dataset.tensors[1]
        with pytest.warns(
            UserWarning, match=r"0.0 MB of inputs are kept in a temporary file.*FixedSample.save\(path\)"
        ):
            mapped = rra.FixedSample.from_dataset(items, n=60)
        assert (torch.cat(list(mapped.batches(16))) == torch.cat(list(kept.batches(16)))).all()
        assert mapped.fingerprint == kept.fingerprint
        assert (mapped.labels == kept.labels).all()
        assert list(tmp_path.iterdir()) == []

    def test_a_copy_by_pickle_is_the_same_without_the_data_set(self, dataset):
        class Local(TensorDataset):
            """Cannot be pickled, being local."""

        sample = rra.FixedSample.from_dataset(Local(*dataset.tensors), n=50)
        copy = pickle.loads(pickle.dumps(sample))
        assert torch.equal(copy.read(range(50)), sample.read(range(50)))
        assert (copy.fingerprint, copy.prepare) == (sample.fingerprint, True)
        assert copy.through(lambda batch: [batch[0] + 1, batch[1]]).n == 50

    def test_another_normalisation_has_another_fingerprint(self, dataset):
        images, labels = dataset.tensors
        other = rra.FixedSample.from_dataset(TensorDataset(images * 2 - 1, labels), n=60)
        plain = rra.FixedSample.from_dataset(dataset, n=60)
        assert (other.ids == plain.ids).all()
        assert other.fingerprint != plain.fingerprint

    def test_batches_are_even(self):
        sample = rra.FixedSample.from_tensors(torch.zeros(129, 2))
        assert [len(batch) for batch in sample.batches(128)] == [64, 65]

    @pytest.mark.parametrize(
        "labels", [np.array([2**62, -(2**63), 0, 1, 2]), torch.arange(5).bfloat16(), torch.ones(5) > 0]
    )
    def test_labels_of_64_bits_are_labels(self, labels):
        found = rra.FixedSample.from_tensors(torch.zeros(5, 2), labels).labels
        assert found.tolist() == [int(label) for label in labels]


class TestFixedSampleLabels:
    def test_stored_labels_spare_reading_every_item(self, dataset):
        items = Items([dataset[i] for i in range(len(dataset))])
        items.targets = dataset.tensors[1].tolist()
        rra.FixedSample.from_dataset(items, n=60)
        assert items.reads < 300

    @pytest.mark.parametrize("name", ["targets", "labels"])
    def test_subsets_and_concatenations_are_seen_through(self, dataset, name):
        items = Items([dataset[i] for i in range(200)])
        setattr(items, name, dataset.tensors[1][:200])
        part = ConcatDataset([Subset(items, range(50, 150)), Subset(items, range(150, 200))])
        sample = rra.FixedSample.from_dataset(part, n=40)
        assert (sample.labels == dataset.tensors[1][50:][sample.ids].numpy()).all()
        assert items.reads < 250

    def test_items_are_read_where_nothing_is_stored(self, dataset):
        sample = rra.FixedSample.from_dataset(Items([dataset[i] for i in range(200)]), n=40)
        assert (sample.labels == dataset.tensors[1][sample.ids].numpy()).all()

    def test_a_target_transform_wins_over_stored_targets(self, dataset):
        items = Items([(image, int(label) % 2) for image, label in (dataset[i] for i in range(300))])
        items.targets = dataset.tensors[1][:300]
        assert set(rra.FixedSample.from_dataset(items, n=40).labels) == {0, 1}

    def test_dictionaries_keep_their_label_apart(self):
        items = Items([{"image": torch.full((3,), float(i)), "label": i % 2} for i in range(40)])
        sample = rra.FixedSample.from_dataset(items, n=10)
        batch = next(sample.batches())
        assert set(batch) == {"image"}
        assert (sample.labels == batch["image"][:, 0].numpy() % 2).all()

    def test_several_inputs_stay_together(self):
        items = Items([(torch.zeros(2), torch.ones(3), i % 2) for i in range(40)])
        batch = next(rra.FixedSample.from_dataset(items, n=10).batches())
        assert [part.shape for part in batch] == [(10, 2), (10, 3)]

    @pytest.mark.parametrize("renamed", range(10))
    def test_a_target_transform_that_merges_one_class_is_noticed(self, dataset, renamed):
        items = Items(
            [(image, 0 if label == renamed else int(label)) for image, label in (dataset[i] for i in range(600))]
        )
        items.targets = dataset.tensors[1][:600]
        sample = rra.FixedSample.from_dataset(items, n=180)
        assert sample.labels.tolist() == [items.items[i][1] for i in sample.ids]

    def test_labels_that_are_drawn_at_random_are_refused(self, dataset):
        class Guessing(Items):
            def __getitem__(self, index):
                return super().__getitem__(index)[0], int(torch.randint(10, ()))

        items = Guessing([dataset[i] for i in range(300)])
        items.targets = dataset.tensors[1][:300]
        with pytest.raises(ValueError, match="reading an item draws random numbers from torch's global generator"):
            rra.FixedSample.from_dataset(items, n=100)

    def test_a_label_before_other_entries_is_found_by_the_stored_labels(self, dataset):
        items = Items([(*dataset[i], f"path {i}") for i in range(200)])
        items.targets = dataset.tensors[1][:200]
        sample = rra.FixedSample.from_dataset(items, n=40)
        assert sample.classes == 10
        assert next(sample.batches()).shape == (40, 1, 8, 8)

    @pytest.mark.parametrize(
        "kind", [bool, float, np.uint8, lambda label: torch.tensor([label]), lambda label: np.float32(label)]
    )
    def test_classes_of_any_type_are_classes(self, dataset, kind):
        items = Items([(dataset[i][0], kind(int(dataset[i][1]) % 2)) for i in range(100)])
        assert set(rra.FixedSample.from_dataset(items, n=20).labels) == {0, 1}

    def test_strings_beside_the_inputs_stay_beside_them(self, monkeypatch):
        items = Items([{"image": torch.full((3,), float(i)), "label": i % 2, "path": f"{i}.jpg"} for i in range(40)])
        kept = rra.FixedSample.from_dataset(items, n=10)
        monkeypatch.setattr(sample_module, "MATERIALISE_BYTES", 0)
        for sample in (kept, rra.FixedSample.from_dataset(items, n=10)):
            batch = next(sample.batches(4))
            assert batch["path"] == [f"{i}.jpg" for i in sample.ids[: len(batch["image"])]]

    @pytest.mark.parametrize("label", [None, 0.5, torch.zeros(4)])
    def test_data_without_classes_make_an_unlabelled_sample(self, label):
        items = [torch.full((3,), float(i)) for i in range(40)]
        items = items if label is None else [(item, label) for item in items]
        sample = rra.FixedSample.from_dataset(Items(items), n=10)
        assert sample.labels is None
        assert sample.classes is None


class TestFixedSampleRefuses:
    def test_too_few_of_a_class_names_the_class_and_what_is_possible(self, digits):
        images, labels = digits
        rare = TensorDataset(
            torch.cat([images[labels != 4], images[labels == 4][:5]]),
            torch.cat([labels[labels != 4], labels[labels == 4][:5]]),
        )
        with pytest.raises(ValueError, match=r"class 4 has 5 samples.*needs 10.*n=50 or less"):
            rra.FixedSample.from_dataset(rare, n=100)
        assert rra.FixedSample.from_dataset(rare, n=50).n == 50
        with pytest.warns(UserWarning, match=r"drawn unevenly, 5 to 22 samples of each, since class 4 has only 5"):
            assert rra.FixedSample.from_dataset(rare, n=200, shrink=True).n == 200

    def test_fewer_than_two_of_each_class_are_refused(self, dataset):
        with pytest.raises(ValueError, match=r"n=15 gives fewer than two samples of each of 10 classes.*n=200"):
            rra.FixedSample.from_dataset(dataset, n=15)

    @pytest.mark.parametrize("n", [2, 0, -1])
    def test_n_below_three_is_refused(self, dataset, n):
        with pytest.raises(ValueError, match="at least 3"):
            rra.FixedSample.from_dataset(dataset, n=n)

    def test_more_samples_than_there_are_are_refused(self):
        with pytest.raises(ValueError, match="has 10 samples, fewer than the n=20"):
            rra.FixedSample.from_dataset(Items([torch.zeros(2)] * 10), n=20)

    def test_a_stream_has_no_fixed_items(self):
        class Stream(IterableDataset):
            def __iter__(self):
                return iter([])

        with pytest.raises(TypeError, match="from_tensors"):
            rra.FixedSample.from_dataset(Stream(), n=10)

    def test_items_that_do_not_collate_are_refused(self):
        with pytest.raises(TypeError, match="transform that returns tensors"):
            rra.FixedSample.from_dataset(Items([(object(), 0)] * 10), n=5)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"labels": [0, 1]}, r"expected integers of shape \(5,\)"),
            ({"labels": [0.5] * 5}, "expected integers"),
            ({"ids": [0, 1, 2, 3, 3]}, "5 different integers"),
            ({"ids": [0, 1]}, "5 different integers"),
        ],
    )
    def test_tensors_that_do_not_fit_are_refused(self, arguments, words):
        with pytest.raises(ValueError, match=words):
            rra.FixedSample.from_tensors(torch.zeros(5, 2), **arguments)
        with pytest.raises(ValueError, match="equal first axes"):
            rra.FixedSample.from_tensors((torch.zeros(5, 2), torch.zeros(4, 2)))

    def test_a_random_transform_is_named_with_the_remedy(self, dataset):
        with pytest.raises(ValueError, match=r"differ when read twice \(item \d+.*transform used for evaluation"):
            rra.FixedSample.from_dataset(Noisy(*dataset.tensors), n=100)

    @pytest.mark.parametrize("size", [0, -1])
    def test_batches_of_no_size_are_refused(self, sample, size):
        with pytest.raises(ValueError, match=f"batch_size={size}; expected 1 or more"):
            next(sample.batches(size))
        with pytest.raises(TypeError, match=r"batch_size=1.5; expected a whole number"):
            next(sample.batches(1.5))

    @pytest.mark.parametrize(
        "labels",
        [np.array([1e19, 2e19, 3e19, 4e19, 5e19]), np.arange(5, dtype=np.uint64) + 2**63, [1e300, 1e301, 1, 2, 3]],
    )
    def test_labels_that_64_bits_can_not_tell_apart_are_refused(self, labels):
        with pytest.raises(ValueError, match=r"expected integers of shape \(5,\), of at most 64 bits"):
            rra.FixedSample.from_tensors(torch.zeros(5, 2), labels)
        with pytest.raises(ValueError, match="5 different integers"):
            rra.FixedSample.from_tensors(torch.zeros(5, 2), ids=labels)

    @pytest.mark.parametrize(
        ("inputs", "text"),
        [
            (torch.tensor(1.0), "inputs need a first axis"),
            (np.array(1.0), "inputs need a first axis"),
            (torch.eye(5).to_sparse(), "inputs must be dense tensors"),
            (torch.eye(5).to("meta"), "one that is without values"),
        ],
    )
    def test_inputs_that_are_no_samples_are_named(self, inputs, text):
        with pytest.raises(ValueError, match=text):
            rra.FixedSample.from_tensors(inputs)

    def test_data_sets_that_do_not_hold_what_they_say_are_named(self):
        pair = (torch.zeros(2), 0)
        with pytest.raises(ValueError, match=r"says that it has 50 items, and has no item \d+"):
            rra.FixedSample.from_dataset(Lying([pair] * 5, 50), n=10)
        with pytest.raises(ValueError, match="an item of the data set is an empty tuple"):
            rra.FixedSample.from_dataset(Lying([()] * 9, 9), n=3)

    @pytest.mark.parametrize(
        ("chosen", "error"), [({"seed": -1}, ValueError), ({"seed": 1.5}, TypeError), ({"n": "3"}, TypeError)]
    )
    def test_a_draw_by_an_odd_number_names_the_argument(self, dataset, chosen, error):
        with pytest.raises(error, match=f"{next(iter(chosen))}="):
            rra.FixedSample.from_dataset(dataset, **{"n": 20} | chosen)
