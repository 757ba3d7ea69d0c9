import pytest


@pytest.fixture(scope="module")
def wandb_offline():
    """No run of W&B left over, none online; an offline WandbLogger leaves its mode in the environment."""
    import wandb

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        yield
    wandb.teardown()


@pytest.fixture
def wandb_finished(wandb_offline):
    """Or a test that fails would leave its run to the next."""
    import wandb

    yield
    wandb.finish()
