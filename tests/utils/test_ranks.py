import pytest

from rra_monitor.utils.ranks import ALONE, Ranks


@pytest.mark.parametrize(("n", "size"), [(10, 3), (2, 4), (0, 2), (7, 1)])
def test_shares_follow_each_other_and_differ_by_one_at_most(n, size):
    shares = [Ranks(None, rank, size).rows(n) for rank in range(size)]
    assert [row for share in shares for row in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert max(map(len, shares)) == Ranks(None, 0, size).most_rows(n)


def test_any_rank_tells_the_shares_of_the_others():
    assert Ranks(None, 2, 3).rows(10, 0) == Ranks(None, 0, 3).rows(10)


def test_one_process_agrees_with_itself():
    assert Ranks.of(None) is ALONE
    assert ALONE.values(lambda: 3) == [3]
    assert ALONE.first(lambda: 4) == 4
    ALONE.agree({"step": 1})
    with pytest.raises(KeyError):
        ALONE.agreed(lambda: {}["lost"])


def test_anything_but_a_group_is_refused():
    with pytest.raises(TypeError, match=r"group='gloo'; expected a process group of torch, or None for one process"):
        Ranks.of("gloo")
