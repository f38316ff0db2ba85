"""`ardock daemon`: owns a root folder and serves it. Nothing is imported here: the command's help costs no engine."""
