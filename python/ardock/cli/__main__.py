"""`python -m ardock.cli`: the command where no script is installed."""

from __future__ import annotations

from ardock.cli import main

main()
