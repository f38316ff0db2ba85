"""Containers: what is asked for, planned, launched and awaited."""
