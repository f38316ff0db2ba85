"""Records and value types, and every error: plain data without I/O, importable by every other part."""
