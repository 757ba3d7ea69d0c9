import warnings

from rra_monitor.utils.repeated import Repeated


def said(texts):
    repeated = Repeated()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for text in texts:
            repeated.warn(text)
    assert {each.filename for each in caught} == {__file__}
    return [str(each.message) for each in caught]


def test_the_first_tenth_and_hundredth_time_are_said():
    found = said(f"epoch {epoch}: {epoch * 7} values are NaN" for epoch in range(120))
    assert found == [
        "epoch 0: 0 values are NaN",
        "epoch 9: 63 values are NaN (for the 10th time)",
        "epoch 99: 693 values are NaN (for the 100th time)",
    ]


def test_another_reason_is_said_at_once():
    assert said(["step 1: full", "step 2: full", "step 3: gone"]) == ["step 1: full", "step 3: gone"]
