"""Fuzzing: every reader of a file that somebody else may have written, on thousands of damaged ones.

    python -m tests.fuzz store --mutations 10000 --seed 0

damages the reader's input 10,000 times, reads each one within bounds, prints how many reads ended how, and exits with 1
if any failed. `--first N --mutations 1` repeats case N and shows its failure whole.

A reader is a module of this package with three functions, see `harness.Reader`:

    def whole() -> Files                                # its input as it should be, made anew: relative path to bytes
    def mutated(files: Files, random: Random) -> Files  # one damaged version of it
    def reads(run: Path) -> dict[str, Callable]         # name to a read of the input that was laid out below `run`

and, where its reads need a second input that is in order, `beside() -> Files`, laid out in `run.parent / "beside"`. A
read that returns has succeeded; it raises AssertionError where what it read breaks a promise. Its name goes into
`harness.READERS`. `mutations` has what formats share: bytes, JSON values, arrays.

A read ends in one of four ways:

    read      no error, no warning
    left out  a UserWarning that names the input
    refused   a ValueError that our own code raised and that names the input
    FAILED    anything else: another exception, an answer after more than `guard.SECONDS`, memory beyond ten times the
              size of the input plus 200 MB, a file outside the input read, written, moved or deleted, a program or an
              unpickler started, a crash

On the undamaged input every read must end in `read`, so that no campaign can pass by refusing everything.
"""
