"""A reader's regular expressions in a real browser: what RegExp finds, in linear time."""

import base64
import random
import time

from rra_monitor.page.assets import static_files
from rra_monitor.page.report import write_report
from tests.helpers.browser import wait_for_count
from tests.helpers.page_runs import made_up_run

FOUND = """async ([source, asked]) => {
  const { compiled } = await import(source);
  return asked.map(([text, name]) => {
    const expression = compiled(text);
    return [expression.exec(name), expression.error];
  });
}"""

BY_REGEXP = """asked => asked.map(([text, name]) => {
  const found = new RegExp(text).exec(name);
  return found && [found[0], found[1]];
})"""

MODULE = "data:text/javascript;base64," + base64.b64encode(static_files()["expression.js"].read_bytes()).decode()

NAMES = ["", "a", "seed0", "resnet20-seed-1", "runs/a.b/version_3", "aab-abc.1", "ü (x) [y] {z}\n$"]

USED = [
    *("", "seed", "^resnet", "seed-?[0-9]+$", "^(.+)-[0-9]", "^.(.*)", r"version_(\d+)", r"a\.b|seed", "(?:a|b)+c?"),
    *("^(?!resnet)", "^(?!.*(a|b))", "(?=.*seed)(?=.*1)", "(?<=-)seed", "(?<!-)seed", r"\bseed\b", "a{2}", "a{1,}?b"),
    *("[^/]+$", r"[\w.-]+", "(?<name>s)eed", "(a)|(s)", "((a)|s)+", r"\(x\) \[y\]", r"\x61", "[]a]?", "[^]", r"\n\$"),
    *("(a*)*", "(a|ab)(c|bcd)?", "(?:(a)|b)*", "a*?b", "(a??)b", "^$", "ü", ".", "x{"),
]

BACKTRACKING = ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "a*a*a*a*a*a*b", "(?=(?:a+)+b)", "(?:a?){200}b", "(.*)*x"]

REFUSED = {
    "(a)\\1": "references to groups",
    "(?i:a)": "with letters after it",
    "((a{99}){99}){99}": "too long",
    "(": "Unterminated group",
}


def found(page, asked):
    return page.evaluate(FOUND, [MODULE, asked])


def test_expression_finds_what_regexp_finds(browser_page):
    asked = [[text, name] for text in USED for name in NAMES]
    expected = browser_page.evaluate(BY_REGEXP, asked)
    for one, (match, error), theirs in zip(asked, found(browser_page, asked), expected, strict=True):
        assert (match, error) == (theirs, None), one


def test_expression_finds_what_regexp_finds_for_random_expressions(browser_page):
    rng = random.Random(0)
    asked = [[_expression(rng, 2), "".join(rng.choices("aabbc-.", k=rng.randrange(9)))] for _ in range(5000)]
    matches = [match for match, _ in found(browser_page, asked)]
    assert matches == browser_page.evaluate(BY_REGEXP, asked)
    assert 1000 < sum(match is None for match in matches) < 4000


def _expression(rng, depth):
    """An expression whose loops take a letter at every round; of others RegExp's choice among empty ones is its own."""
    parts = []
    for _ in range(rng.randrange(1, 4)):
        atom = rng.choice(["a", "b", ".", "[ab]", "[^a]", r"\w", "-"])
        if depth and rng.random() < 0.3:
            inner = "a|b" if rng.random() < 0.3 else _taking(rng, depth - 1)
            atom = f"{rng.choice(['(', '(?:'])}{inner})"
        place = rng.choice(["", "", "", "^", "$", r"\b", "(?=a)", "(?!b|-)", "(?<=a)", "(?<!(?:b|c))"])
        parts.append(place + atom + rng.choice(["", "", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,2}?"]))
    return "".join(parts) + rng.choice(["", "", f"|{rng.choice('abc')}"])


def _taking(rng, depth):
    return rng.choice("abc") + _expression(rng, depth).replace("|", "")


def test_expression_takes_linear_time(browser_page):
    started = time.monotonic()
    for text in BACKTRACKING:
        assert found(browser_page, [[text, "a" * 40 + "!"]]) == [[None, None]], text
        found(browser_page, [[text, "a" * 4_000 + "!"]])
    assert time.monotonic() - started < 60  # a busy machine; what backtracks would be at it for years


def test_expression_that_can_not_be_matched_is_said(tmp_path, browser_page):
    write_report([made_up_run("seed0"), made_up_run("seed1", seed=1)], tmp_path / "r.html")
    browser_page.goto((tmp_path / "r.html").as_uri())
    wait_for_count(browser_page.main_frame, "curve id", 2)
    said = browser_page.get_by_text("Not a regular expression that can be matched")
    for text, reason in REFUSED.items():
        browser_page.get_by_label("Group by").fill(text)
        said.filter(has_text=reason).wait_for()


def test_expression_of_an_address_does_not_stall_the_report(tmp_path, browser_page):
    write_report([made_up_run("a" * 3000 + "!"), made_up_run("b" * 3000, seed=1)], tmp_path / "r.html")
    browser_page.goto(f"{(tmp_path / 'r.html').as_uri()}#groups=^(a%2B)%2B$&filter=(?:[ab]?){{2400}}x")
    wait_for_count(browser_page.main_frame, "curve id", 2)
    browser_page.get_by_text("it takes too long for these names").wait_for()
