import gzip
import json

import numpy as np

from rra_monitor.page.binary import packed_payload
from rra_monitor.page.payload import fractions, run_payload
from tests.helpers.page_runs import made_up_run


class TestPacked:
    def test_packed_rounds_nothing_and_keeps_json(self):
        run = made_up_run()
        symmetric = fractions(np.array([[[[1, 0.2], [0.2, np.nan]]]] * 3))
        payload = run_payload(run) | {"more": [symmetric]}
        data = gzip.decompress(packed_payload(payload))
        length = int.from_bytes(data[:4], "little")
        header, blob = json.loads(data[4 : 4 + length]), data[4 + length :]
        assert header["name"] == payload["name"]
        about = header["more"][0]
        assert about["symmetric"]
        assert about["length"] == 3 * 3 * 2
        curve = header["probes"]["train"]["curves"]["id"]
        planes = np.frombuffer(blob[curve["at"] : curve["at"] + curve["length"]], np.uint8).reshape(4, -1)
        whole = np.ascontiguousarray(planes.T).view("<u4").reshape(curve["shape"])
        values = np.cumsum(whole, axis=0, dtype=np.uint32).view("<f4")
        assert np.array_equal(values, run.probes["train"].curves["id"].astype("<f4"), equal_nan=True)
