"""The callback in a training on a GPU: the same to the last bit, and on without memory."""

import pytest
import torch

from tests.helpers.guest_trainings import PRECISIONS, differing, final_state, fit_with_a_shortage

CUDA = torch.device("cuda")


@pytest.mark.cuda
@pytest.mark.parametrize(
    ("precision", "compiler"), [*((precision, None) for precision in PRECISIONS), ("bf16-mixed", "inductor")]
)
def test_training_on_cuda_is_bit_identical_with_the_callback(tmp_path, precision, compiler):
    without = final_state(CUDA, tmp_path, precision, compiler)
    assert "CUDA's random state" in without
    assert differing(without, final_state(CUDA, tmp_path, precision, compiler, measured=True)) == []


@pytest.mark.cuda
def test_training_on_cuda_goes_on_when_a_snapshot_finds_no_memory(tmp_path):
    trained, measured, said = fit_with_a_shortage(CUDA, tmp_path)
    assert trained == 9
    lost = [text for text in said if "training goes on" in text]
    assert measured == ((0, 3, 9) if lost else (0, 3, 6, 9))
    assert all("OutOfMemoryError" in text for text in lost)


def test_training_goes_on_when_a_snapshot_finds_no_memory(tmp_path):
    trained, measured, said = fit_with_a_shortage(torch.device("cpu"), tmp_path)
    assert (trained, measured) == (9, (0, 3, 9))
    assert sum("no snapshot at epoch 2, step 6; training goes on" in text for text in said) == 1


def test_comparison_of_two_trainings_finds_another_last_bit():
    one = {"a": torch.zeros(3), "b": torch.ones(2), "c": torch.tensor([float("nan")])}
    other = {"a": torch.tensor([0.0, -0.0, 0.0]), "b": torch.ones(2), "c": torch.tensor([float("nan")])}
    assert differing(one, one) == []
    assert differing(one, other) == ["a"]
    assert differing(one, {"a": one["a"], "b": one["b"]}) == ["c"]
