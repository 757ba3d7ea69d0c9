import pytest

from rra_monitor import MonitorOptions
from rra_monitor.utils.byte_count import byte_count


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("4GB", 4 * 10**9),
        ("500MB", 500 * 10**6),
        ("4GiB", 4 << 30),
        (" 1.5 gib ", 3 << 29),
        ("2tb", 2 * 10**12),
        ("64KiB", 64 << 10),
        ("12b", 12),
        (1 << 20, 1 << 20),
        (1e9, 10**9),
        (float("inf"), float("inf")),
    ],
)
def test_numbers_of_bytes_are_read_as_people_write_them(value, expected):
    assert MonitorOptions(memory_budget=value).memory_budget == expected


@pytest.mark.parametrize(
    ("value", "error"),
    [(value, ValueError) for value in ("4G", "4", "GB", "-1GB", "0GB", "0.1B", 0, -5, float("nan"), "4 GB of RAM")]
    + [(value, TypeError) for value in (None, True, [4])],
)
def test_others_are_refused_with_the_forms(value, error):
    with pytest.raises(
        error, match=r"memory_budget=.*; expected bytes above 0, as a number or a text: 4_000_000_000, '4GB'"
    ):
        byte_count("memory_budget", value)
