"""The global switches of torch and NumPy, as they are now."""

from functools import partial

import numpy as np
import torch


def switches():
    """What torch and NumPy say of each switch, an error included."""
    backends = torch.backends
    readers = [
        *(partial(getattr, backends.cudnn, name) for name in ("benchmark", "deterministic", "enabled", "allow_tf32")),
        partial(getattr, backends.cuda.matmul, "allow_tf32"),
        partial(getattr, backends.cuda.matmul, "allow_fp16_reduced_precision_reduction"),
        *(
            partial(getattr, owner, "fp32_precision", None)
            for owner in (backends, backends.cuda.matmul, backends.cudnn, backends.mkldnn)
        ),
        torch.get_float32_matmul_precision,
        backends.cuda.flash_sdp_enabled,
        backends.mha.get_fastpath_enabled,
        torch.get_default_dtype,
        torch.are_deterministic_algorithms_enabled,
        torch.is_deterministic_algorithms_warn_only_enabled,
        torch.is_anomaly_enabled,
        torch.is_anomaly_check_nan_enabled,
        torch.get_num_threads,
        torch.is_grad_enabled,
        torch.is_autocast_cache_enabled,
        partial(torch.is_autocast_enabled, "cpu"),
        partial(torch.get_autocast_dtype, "cpu"),
        np.geterr,
    ]
    found = []
    for read in readers:
        try:
            found.append(read())
        except RuntimeError as error:
            found.append(str(error)[:60])
    return found
