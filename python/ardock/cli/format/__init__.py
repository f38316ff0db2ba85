"""Docker's `--format`: Go's template language, as far as Docker's own documents use it, and its tables.

What is there: text, fields, variables, pipelines, literals, ``if``, ``range``, ``with`` and ``else``, ``break`` and
``continue``, and the functions of `ardock.cli.format.functions`. All else of Go's is refused by name.
"""

from ardock.cli.format.errors import TemplateError
from ardock.cli.format.template import Template

__all__ = ["Template", "TemplateError"]
