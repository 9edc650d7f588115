"""The two benchmarks: their files, their protocols."""
