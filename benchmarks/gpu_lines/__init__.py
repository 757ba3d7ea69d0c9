"""The lines of benchmarks/gpu.py: a generator of rows each."""
