"""Answers held to a form: a JSON Schema, enforced token by token.

``schema`` refuses what is too large or cannot be enforced, ``trial`` compiles it in a process that may die of it, and
``constraint`` masks the tokens of an answer inside the engine. The compiler is llguidance's.
"""
