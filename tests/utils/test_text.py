from rra_monitor.utils.text import shortened, visible
from tests.helpers.terminals import EVIL


def test_visible_leaves_nothing_for_a_terminal_to_obey_and_honest_text_as_it_is():
    assert visible(EVIL).isprintable()
    assert visible(EVIL).startswith(r"\x1b]0;TITLE\x1b\\x1b]52;c;")
    assert visible("Läyer 3.2 @avg4 → 日本") == "Läyer 3.2 @avg4 → 日本"


def test_shortened_keeps_both_ends_within_the_bound():
    for most in (5, 8, 60):
        assert len(shortened("begin" + "x" * 10_000 + "end", most)) == most
    assert shortened("x" * 60, 60) == "x" * 60
