from random import Random

import pytest

from tests.fuzz import misbehaving
from tests.fuzz.harness import FAILED, LEFT_OUT, READ, READERS, campaign

SEED, CASES = 5, 3
"""The first case is damaged, the second fatal, the third damaged."""


def test_fuzz_harness_notices_every_kind_of_misbehaviour_and_goes_on_after_a_crash(tmp_path):
    damage = [misbehaving.mutated({}, Random(f"{SEED}:{case}"))["input"] for case in range(CASES)]
    assert damage == [b"damaged", b"fatal", b"damaged"]
    found = campaign("misbehaving", CASES, SEED)
    assert found.counts["process", FAILED] == damage.count(b"fatal")
    times = damage.count(b"damaged")
    for name in misbehaving.reads(tmp_path):
        expected = {"fine warning": LEFT_OUT}.get(
            name, READ if name.startswith("fine") or name == "a crash" else FAILED
        )
        assert {outcome for read, outcome in found.counts if read == name} == {expected}, name
        assert found.counts[name, expected] == times


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_fuzz_finds_nothing_that_a_reader_does_wrong(reader):
    found = campaign(reader, mutations=500)
    assert not found.failures, "\n\n".join(map(str, found.failures[:5]))
    assert found.cases == 500
    assert found.total(READ) > 0
