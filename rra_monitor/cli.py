"""The command `rra-monitor`. Each subcommand imports what it needs when it runs, so that --help is instant."""

from jsonargparse import auto_cli


def demo(out: str | None = None, epochs: int = 10) -> None:
    """Train ResNet20 on scikit-learn's digits with two seeds, monitored; no network needed, two minutes on two cores.

    The first seed is the reference of the second. Ends with a table of ID, NNCS and NNLS per layer, two pictures, and
    the command that opens the dashboard.

    Args:
        out: directory for runs and pictures; the first free of rra-demo, rra-demo-1, … by default.
        epochs: of training for each seed.
    """
    try:
        from rra_monitor.demo import run_demo
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"rra-monitor demo needs the package {error.name!r}. Install rra-monitor with its extra [recipes]."
        ) from error
    run_demo(out, epochs)


def main() -> None:
    """Watch every layer of a vision network while it trains."""
    auto_cli({"demo": demo}, prog="rra-monitor", description=main.__doc__)


if __name__ == "__main__":
    main()
