"""Reads and checks input: extraction files, conditions, and bounded HTTP bodies."""
