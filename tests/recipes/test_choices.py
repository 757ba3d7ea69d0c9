import ast
import inspect
import itertools

from rra_monitor.recipes import choices


def test_what_the_thesis_does_not_print_has_a_reason():
    """Every constant of choices.py is followed by its reason."""
    body = ast.parse(inspect.getsource(choices)).body
    for node, after in itertools.pairwise([*body, None]):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            assert isinstance(after, ast.Expr), ast.unparse(node)
            assert isinstance(after.value.value, str), ast.unparse(node)
