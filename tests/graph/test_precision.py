import pytest
import torch

from rra_monitor.graph import sieve
from rra_monitor.graph.points import Points
from rra_monitor.graph.precision import bfloat16_pays

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")

FEATURES = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")


@pytest.fixture(params=[(True, True), (False, True), (True, False), (False, False), (None, None)])
def processor(request, monkeypatch):
    """Whether torch finds AMX and AVX512-BF16; None where its version does not tell."""
    for feature, found in zip(FEATURES, request.param, strict=True):
        if found is None:
            monkeypatch.delattr(torch.cpu, feature)
        else:
            monkeypatch.setattr(torch.cpu, feature, lambda found=found: found)
    return request.param


def test_bfloat16_pays_on_processors_that_multiply_it_and_not_on_unknown_ones(processor):
    assert bfloat16_pays() == any(processor)


def test_bfloat16_does_not_pay_while_onednn_is_switched_off(monkeypatch):
    monkeypatch.setattr(torch.cpu, FEATURES[0], lambda: True)
    assert bfloat16_pays()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert not bfloat16_pays()


def test_bfloat16_pays_decides_the_type_of_the_sieve(processor):
    generator = torch.Generator().manual_seed(0)
    # Of few dimensions among many features, so that bfloat16 leaves few candidates more than float32.
    points = Points(torch.randn(1000, 10, generator=generator) @ torch.randn(10, 512, generator=generator))
    assert sieve._plan(points, 5)[0] == (torch.bfloat16 if any(processor) else torch.float32)
