"""What "auto" watches of networks that people use, row by row of docs/architectures.md."""

import pytest

from rra_monitor.capture.thinning import MOST
from tests.helpers.architectures import ARCHITECTURES, BEGIN, END, PAGE, row, watched


def table():
    page = PAGE.read_text(encoding="utf-8")
    return page.partition(BEGIN)[2].partition(END)[0].splitlines()[2:]


def test_the_page_has_a_row_for_every_network():
    assert [line.split(" | ")[0].removeprefix("| ") for line in table()] == [each.name for each in ARCHITECTURES]
    assert len(ARCHITECTURES) >= 40


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_every_block_is_watched_or_the_network_is_thinned(architecture):
    result = watched(architecture)
    assert result.layers <= MOST
    assert all(has for has, _ in result.found.values())
    if result.remarks:
        assert result.layers == MOST
        assert "watches all of them" in result.remarks[0]
        assert all(seen >= has // 2 for has, seen in result.found.values())
    else:
        assert all(seen == has for has, seen in result.found.values())
    assert row(architecture, result) in table()
