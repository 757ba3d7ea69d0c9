"""References that are stored on W&B as artifacts."""

import os
import re

ARTIFACT_TYPE = "rra-snapshot"

ADDRESS = re.compile(r"wandb:([^/:\s]+/[^/:\s]+/[^/:\s]+:[^/:\s]+)")


def reference_path(path: str | os.PathLike[str]) -> str:
    """The path of a reference: `wandb:<entity>/<project>/<artifact>:<alias>` is downloaded, others are paths.

    Downloads go where W&B puts them (`WANDB_ARTIFACT_DIR`, or `artifacts/`), once.

    Raises:
        ValueError: an incomplete address, an artifact of another type, or no connection to W&B.
    """
    path = os.fspath(path)
    if not path.startswith("wandb:"):
        return path
    found = ADDRESS.fullmatch(path)
    if found is None:
        raise ValueError(f"{path!r} is no address of an artifact; expected wandb:<entity>/<project>/<artifact>:<alias>")
    remedy = "download it where there is a connection (`wandb artifact get …`) and pass the directory"
    mode = os.environ.get("WANDB_MODE", "online")
    # An offline WandbLogger sets it, too. Trying all the same would wait for minutes.
    if mode in ("offline", "dryrun", "disabled"):
        raise ValueError(f"{path} cannot be downloaded, W&B is {mode} (WANDB_MODE); {remedy}")
    try:
        import wandb

        return str(wandb.Api().artifact(found[1], type=ARTIFACT_TYPE).download())
    except Exception as error:
        raise ValueError(
            f"{path} cannot be downloaded ({error!r}); check the address and your login, or {remedy}"
        ) from error
