import pytest

from rra_monitor.recipes.schedules import warm_cosine


def test_the_rate_warms_up_and_ends_at_a_hundredth():
    """By the formula of 4.1, over 100 epochs of 391 steps."""
    total, warm_up = 39_100, 3_910
    rates = [warm_cosine(step, total, warm_up, 0.01) for step in range(total)]
    assert rates[warm_up // 2 - 1] == pytest.approx(0.5)
    assert max(rates) == rates[warm_up] == 1
    assert rates[(warm_up + total) // 2] == pytest.approx(0.505, abs=1e-4)
    assert rates[-1] == pytest.approx(0.01)
    assert rates[:warm_up] == sorted(rates[:warm_up])
    assert rates[warm_up:] == sorted(rates[warm_up:], reverse=True)
