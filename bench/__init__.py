"""Benchmarks: each against the kernel's floor and against other engines."""
