"""Hosts and dashboards: each module needs its own package, and nothing below them does."""
