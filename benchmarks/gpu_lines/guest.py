"""Lines about the training around the monitor: it is the same to the last bit, and goes on without memory."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.guest_trainings import PRECISIONS, differing, final_state, fit_with_a_shortage

from .bench import Bench, Row


def bit_identity(bench: Bench) -> Iterator[Row]:
    compilers = {f"{precision}": (precision, None) for precision in PRECISIONS}
    compilers["compiled, bf16-mixed"] = ("bf16-mixed", "inductor" if bench.on_gpu else "eager")
    for name, (precision, compiler) in compilers.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            without = final_state(bench.device, path, precision, compiler)
            found = differing(without, final_state(bench.device, path, precision, compiler, measured=True))
            again = differing(without, final_state(bench.device, path, precision, compiler)) if found else []
        words = f"{len(found)} of {len(without)} differ"
        if found:
            words += f" ({', '.join(found[:3])}); {len(again)} between two trainings without the monitor"
        title = f"bit-identity of a training at {name}: tensors with the monitor and without"
        yield Row(title, words, "0 differ", not found, len(found), {"differing": found, "again": again})


def shortage(bench: Bench) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        trained, measured, texts = fit_with_a_shortage(bench.device, Path(folder))
    said = [text for text in texts if "training goes on" in text]
    words = f"{trained} of 9 steps, snapshots at steps {', '.join(map(str, measured))}; {len(said)} warnings"
    met = trained == 9 and {0, 3, 9} <= set(measured) and (6 in measured or len(said) == 1)
    bar = "9 steps, one snapshot lost with one warning, or none lost"
    yield Row("out of memory in a snapshot", words, bar, met, details={"warnings": said})
