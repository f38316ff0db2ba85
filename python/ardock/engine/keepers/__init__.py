"""Keepers: starting, connecting, adopting and talking to them."""
