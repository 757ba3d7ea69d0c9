import pytest

from tests.helpers.recipe_runs import described  # noqa: F401 - a fixture


@pytest.fixture(autouse=True, scope="module")
def on_one_thread(one_thread):
    """All trainings here are small."""
