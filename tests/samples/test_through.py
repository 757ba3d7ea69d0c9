import re

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

import rra_monitor as rra
from tests.helpers.borrowed_data import Counted


class Words(Dataset):
    """Token sequences of different lengths."""

    targets = tuple(index % 3 for index in range(90))

    def __len__(self):
        return 90

    def __getitem__(self, index):
        return {"tokens": torch.arange(1, 2 + index % 7), "label": index % 3}


def padded(items):
    tokens = [item["tokens"] for item in items]
    return {
        "tokens": torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True),
        "label": torch.tensor([item["label"] for item in items]),
    }


def standardised(items):
    images, labels = zip(*items, strict=True)
    return torch.stack(images) * 2 - 1, torch.tensor([int(label) for label in labels])


class TestThrough:
    def test_a_change_sees_batches_as_the_loader_hands_them_on(self, tmp_path):
        seen, sample = [], rra.FixedSample.from_dataset(Counted(tmp_path), n=40)
        sample.through(lambda batch: seen.append(batch) or batch)
        (real,) = DataLoader([Counted(tmp_path)[int(index)] for index in sample.ids], 40)
        assert type(seen[0]) is type(real)
        assert all(torch.equal(*parts) for parts in zip(seen[0], real, strict=True))

    def test_the_inputs_are_changed_and_the_rest_stays(self, dataset):
        sample = rra.FixedSample.from_dataset(dataset, n=300)
        changed = sample.through(lambda batch: [batch[0] * 2 - 1, batch[1]])
        assert torch.equal(changed.read(range(300)), sample.read(range(300)) * 2 - 1)
        assert (changed.ids == sample.ids).all()
        assert (changed.labels == sample.labels).all()
        assert changed.fingerprint != sample.fingerprint
        plain = TensorDataset(dataset.tensors[0] * 2 - 1, dataset.tensors[1])
        assert changed.fingerprint == rra.FixedSample.from_dataset(plain, n=300).fingerprint

    def test_no_change_is_the_same_sample(self, dataset):
        sample = rra.FixedSample.from_dataset(dataset, n=300)
        assert sample.through(lambda batch: batch) is sample

    def test_a_change_in_later_batches_alone_is_seen(self, dataset):
        sample = rra.FixedSample.from_dataset(dataset, n=600)
        middle = sample.read(range(240, 360))
        changed = sample.through(lambda batch: [batch[0] + float(torch.equal(batch[0], middle)), batch[1]])
        assert torch.equal(changed.read(range(240, 360)), middle + 1)
        assert torch.equal(changed.read(range(240)), sample.read(range(240)))

    def test_each_batch_is_changed_once_and_two_of_them_twice(self, dataset):
        seen = []
        rra.FixedSample.from_dataset(dataset, n=600).through(lambda batch: seen.append(1) or [batch[0] + 1, batch[1]])
        assert len(seen) == 5 + 2

    def test_a_change_in_place_leaves_the_sample_as_it_was(self, dataset):
        sample = rra.FixedSample.from_dataset(dataset, n=50)
        before = sample.read(range(50))
        changed = sample.through(lambda batch: [batch[0].mul_(3), batch[1]])
        assert torch.equal(sample.read(range(50)), before)
        assert torch.equal(changed.read(range(50)), before * 3)

    def test_a_network_that_works_in_place_leaves_the_sample_as_it_was(self, dataset):
        sample = rra.FixedSample.from_dataset(dataset, n=50)
        before = sample.read(range(50))
        for batch in sample.batches(16):
            batch.zero_()
        assert torch.equal(sample.read(range(50)), before)

    @pytest.mark.parametrize(("labels", "parts"), [(None, 1), (torch.arange(20) % 2, 2)])
    def test_tensors_are_handed_on_with_their_labels(self, labels, parts):
        sample = rra.FixedSample.from_tensors(torch.rand(20, 3), labels)

        def doubled(batch):
            assert isinstance(batch, tuple) == (parts == 2)
            return (batch[0] * 2, batch[1]) if parts == 2 else batch * 2

        assert torch.equal(sample.through(doubled).read(range(20)), sample.read(range(20)) * 2)

    def test_a_dictionary_loses_its_label_again(self):
        sample = rra.FixedSample.from_dataset(Words(), n=30, collate_fn=padded)
        changed = sample.through(lambda batch: batch | {"mask": batch["tokens"] > 0})
        assert set(changed.read(range(2))) == {"tokens", "mask"}

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda batch: [batch[0] + torch.rand(()), batch[1]], "the same batch differs when it is prepared twice"),
            (lambda batch: [batch[0] + (np.random.rand() < 1e-6), batch[1]], "it draws from numpy's global generator"),
        ],
    )
    def test_a_random_change_is_refused_and_no_random_number_used(self, dataset, change, words):
        sample = rra.FixedSample.from_dataset(dataset, n=50)
        before = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
        with pytest.raises(ValueError, match=f"preparing a batch of the sample is random .{words}.*prepare=False"):
            sample.through(change)
        assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()) == before

    def test_a_change_that_loses_samples_is_refused(self, dataset):
        with pytest.raises(TypeError, match="expected tensors whose first axis is that of the samples"):
            rra.FixedSample.from_dataset(dataset, n=50).through(lambda batch: [batch[0][1:], batch[1]])

    def test_batches_that_it_cuts_to_different_lengths_are_refused_with_the_remedy(self):
        lengths = torch.where(torch.arange(200) < 100, 4, 9)
        texts = torch.ones(200, 12, 3) * (torch.arange(12) < lengths[:, None])[..., None]
        sample = rra.FixedSample.from_tensors(texts)
        with pytest.raises(TypeError, match=r"\(4, 3\) and float32 \(9, 3\), batch by batch; .* pad all to one shape"):
            sample.through(lambda batch: batch[:, (batch != 0).any(2).any(0)])
        assert sample.through(lambda batch: batch[:, :9]).read(range(2)).shape == (2, 9, 3)


class TestCollate:
    def test_a_loaders_function_makes_the_inputs(self, dataset):
        drawn = rra.FixedSample.from_dataset(dataset, n=300, collate_fn=standardised)
        assert torch.equal(drawn.read(range(300)), dataset.tensors[0][drawn.ids] * 2 - 1)
        later = rra.FixedSample.from_dataset(dataset, n=300).through(lambda batch: batch, collate_fn=standardised)
        assert torch.equal(later.read(range(300)), drawn.read(range(300)))
        assert later.fingerprint == drawn.fingerprint
        assert (later.labels == drawn.labels).all()

    def test_the_functions_it_was_drawn_with_reads_nothing_again(self, tmp_path):
        dataset = Counted(tmp_path)

        def stacked(items):
            return torch.stack([item[0] for item in items]), torch.tensor([item[1] for item in items])

        sample = rra.FixedSample.from_dataset(dataset, n=40, collate_fn=stacked)
        reads = dataset.reads
        sample.through(lambda batch: [batch[0] + 1, batch[1]], collate_fn=stacked)
        plain = rra.FixedSample.from_dataset(dataset, n=40)
        assert dataset.reads == 2 * reads
        plain.through(lambda batch: batch, collate_fn=torch.utils.data.default_collate)
        assert dataset.reads == 2 * reads
        plain.through(lambda batch: batch, collate_fn=stacked)
        assert dataset.reads == 2 * reads + 40

    def test_what_it_holds_on_to_is_not_the_samples(self, dataset):
        held = []

        def holding(items):
            held.append(torch.stack([item[0] for item in items]))
            return held[-1], torch.tensor([int(item[1]) for item in items])

        sample = rra.FixedSample.from_dataset(dataset, n=50, collate_fn=holding)
        before = sample.read(range(50))
        for batch in held:
            batch.zero_()
        assert torch.equal(sample.read(range(50)), before)

    def test_sequences_are_padded_to_the_longest_of_the_sample(self):
        class Sorted(Words):
            def __getitem__(self, index):
                return {"tokens": torch.arange(1, 2 + index // 10), "label": index % 3}

        sample = rra.FixedSample.from_dataset(Sorted(), n=90, collate_fn=padded)
        tokens = sample.read(range(90))["tokens"]
        assert tokens.shape == (90, 9)
        assert ((tokens > 0).sum(1).numpy() == sample.ids // 10 + 1).all()

    def test_pictures_are_made_tensors_by_it(self):
        from PIL import Image

        class Pictures(Dataset):
            targets = tuple(index % 3 for index in range(60))

            def __len__(self):
                return 60

            def __getitem__(self, index):
                return Image.fromarray(np.full((4, 4), index, np.uint8)), index % 3

        def arrays(items):
            return torch.from_numpy(np.stack([np.asarray(item[0]) for item in items])), [item[1] for item in items]

        sample = rra.FixedSample.from_dataset(Pictures(), n=30, collate_fn=arrays)
        assert (sample.read(range(30))[:, 0, 0].numpy() == sample.ids).all()
        with pytest.raises(TypeError, match="pass the collate_fn of your loader"):
            rra.FixedSample.from_dataset(Pictures(), n=30)


@pytest.fixture(scope="module")
def images():
    """A sample of textured images of two channels, and further ones of the same kind."""
    generator = torch.Generator().manual_seed(0)
    shade = torch.rand(600, 1, 1, 1, generator=generator)
    data = (0.5 * shade + 0.5 * torch.rand(600, 2, 12, 12, generator=generator)) * torch.tensor([1.0, 0.6]).view(
        2, 1, 1
    )
    return rra.FixedSample.from_tensors(data[:500]), data[500:564]


def jittered(images):
    generator = torch.Generator().manual_seed(1)
    light = 0.6 + 0.8 * torch.rand(len(images), 1, 1, 1, generator=generator)
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * light + mean * light.flip(0)).clamp(0, 1)


def erased(images):
    images = images.clone()
    images[::2, :, 2:8, 2:8] = 0
    return images


class TestDifferences:
    @pytest.mark.parametrize(
        "augmented",
        [
            lambda images: images,
            lambda images: images.flip(3),
            lambda images: nn_resized(images[..., 3:9, 3:9]),
            jittered,
            erased,
            lambda images: erased(jittered(images)),
            lambda images: 0.6 * images + 0.4 * images.roll(1, 0),
        ],
        ids=["none", "flip", "crop", "jitter", "erasing", "both", "mixup"],
    )
    @pytest.mark.parametrize("size", [4, 16, 64])
    def test_ordinary_augmentation_is_no_difference(self, images, augmented, size):
        sample, others = images
        assert sample.differences(augmented(others)[:size]) == []

    @pytest.mark.parametrize(
        ("other", "words"),
        [
            (lambda images: images * 255, r"values .* to 25\d.* in training, .* in the sample"),
            (lambda images: (images - 0.5) / 0.25, r"mean .* of channel 1 in training, 0.30\d+ in the sample"),
            (
                lambda images: images / 3 + 0.3,
                "standard deviation .* in the sample, and 1 other channel differs",
            ),
            (lambda images: images.double(), "type float64 in training, float32 in the sample"),
            (lambda images: images[..., :10], r"shape \(2, 12, 10\) of an input in training, \(2, 12, 12\) in"),
            (lambda images: images.permute(0, 2, 3, 1), r"shape \(12, 12, 2\)"),
            (lambda images: {"image": images}, "a dictionary of 'image' in training, a tensor in the sample"),
        ],
        ids=["bytes", "normalised", "scaled", "double", "size", "channels last", "dictionary"],
    )
    def test_other_inputs_are_said_with_both_values(self, images, other, words):
        sample, others = images
        found = sample.differences(other(others))
        assert any(re.search(words, one) for one in found), found

    def test_labels_beside_the_inputs_do_not_count(self, dataset):
        sample = rra.FixedSample.from_dataset(dataset, n=200)
        images, labels = dataset.tensors[0][:64], dataset.tensors[1][:64]
        assert sample.differences([images, labels]) == []
        assert sample.differences(images) == []
        assert sample.differences([images * 255, labels]) != []

    def test_rare_values_and_lengths_of_sequences_are_chance(self):
        generator = torch.Generator().manual_seed(0)
        rare = (torch.rand(600, 300, generator=generator) < 0.01).float()
        assert rra.FixedSample.from_tensors(rare[:500]).differences(rare[500:532]) == []
        tokens = torch.randint(0, 1000, (600, 20), generator=generator)
        assert rra.FixedSample.from_tensors(tokens[:500]).differences(tokens[500:, :13]) == []

    def test_parts_are_named(self):
        sample = rra.FixedSample.from_tensors({"image": torch.rand(50, 2, 4), "mask": torch.rand(50, 2)})
        found = sample.differences({"image": torch.rand(50, 2, 4) * 255, "mask": torch.rand(50, 2)})
        assert len(found) == 1
        assert found[0].startswith("the inputs['image']: values")


def nn_resized(images):
    return torch.nn.functional.interpolate(images, size=12, mode="bilinear")
