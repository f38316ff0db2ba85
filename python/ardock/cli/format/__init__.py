"""Docker's `--format`: Go's template language, as far as Docker's own documents use it, and its tables.

What is there: text, fields, variables, pipelines, literals, ``if``, ``range``, ``with`` and ``else``, ``break`` and
``continue``, and the functions of `ardock.cli.format.functions`. All else of Go's is refused by name.

Nothing is imported here: most command lines have no template.
"""
