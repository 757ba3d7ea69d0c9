"""The command line: options and help in main.py, what each command does in a file of its own."""
