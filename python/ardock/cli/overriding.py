"""`override` of PEP 698, for Python 3.11 too without a package of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if sys.version_info >= (3, 12):
    from typing import override
elif TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method):  # noqa: ANN001, ANN201 - the checker never sees it
        """The method itself."""
        return method


__all__ = ["override"]
