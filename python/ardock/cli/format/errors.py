"""What is wrong with a template, or with applying it."""

from __future__ import annotations


class TemplateError(ValueError):
    """One sentence; raised by parsing a template and by rendering it."""
