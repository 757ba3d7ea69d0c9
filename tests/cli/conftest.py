from tests.helpers.recipe_runs import described  # noqa: F401 - a fixture
