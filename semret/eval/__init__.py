"""Benchmarks, data sets, and every experiment of the paper."""
