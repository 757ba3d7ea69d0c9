"""`python -m rra_monitor.cli`."""

from rra_monitor.cli.main import main

if __name__ == "__main__":
    main()
