"""Write intrinsic_dimension.json: what dadapy and scikit-dimension estimate for points that the tests draw again.

They do not live beside this package (dadapy asks for numpy < 2), so they get an environment of their own:

    python3 -m venv .venv-golden && .venv-golden/bin/pip install dadapy scikit-dimension
    .venv-golden/bin/python tests/metrics/golden/make_golden.py

Their definitions differ from ours in known factors, which the tests apply: both divide N - 1 by the sum of logarithms
where we divide N (TwoNN by maximum likelihood, censored, Gride); scikit-dimension's MLE averages inverses like ours.
"""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

K = 32


def estimates(points: np.ndarray) -> dict[str, object]:
    # Imported here: pytest reads this file, too, in an environment that has neither.
    import dadapy
    import skdim

    data = dadapy.Data(coordinates=points, maxk=len(points) - 1, verbose=False)
    data.compute_distances()
    scales, errors, _ = data.return_id_scaling_gride(range_max=K)
    nearest = data.distances[:, 1 : K + 1]
    levina_bickel = skdim.id.MLE()
    skdim_gride = skdim.id.GRIDE(multiscale=True, range_max=K).fit(points)
    return {
        "dadapy.compute_id_2NN(algorithm='ml')": data.compute_id_2NN(algorithm="ml")[0],
        "dadapy.compute_id_2NN(algorithm='base', mu_fraction=0.9)": data.compute_id_2NN(mu_fraction=0.9)[0],
        "dadapy.compute_id_2NN(algorithm='base', mu_fraction=0.7)": data.compute_id_2NN(mu_fraction=0.7)[0],
        "dadapy.return_id_scaling_gride": {"ids": list(scales), "errors": list(errors)},
        "skdim.id.TwoNN(discard_fraction=0.1)": skdim.id.TwoNN(discard_fraction=0.1).fit(points).dimension_,
        "skdim.id.TwoNN(discard_fraction=0.1, method='mle')": skdim.id.TwoNN(discard_fraction=0.1, method="mle")
        .fit(points)
        .dimension_,
        "skdim.id.GRIDE(multiscale=True)": {
            "ids": skdim_gride.dimension_scales_.tolist(),
            "errors": skdim_gride.error_scales_.tolist(),
        },
        "skdim.id.MLE.fit(comb='mle')": {
            str(k): levina_bickel.fit(
                points, precomputed_knn_arrays=(nearest[:, :k], data.dist_indices[:, 1 : k + 1]), comb="mle"
            ).dimension_
            for k in (2, 10, K)
        },
    }


def main() -> None:
    from points import POINTS

    versions = {name: version(name) for name in ("dadapy", "scikit-dimension", "numpy", "scipy")}
    found = {name: estimates(draw()) for name, draw in POINTS.items()}
    content = {"versions": {"python": platform.python_version(), **versions}, "estimates": found}
    path = Path(__file__).with_name("intrinsic_dimension.json")
    path.write_text(json.dumps(content, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
