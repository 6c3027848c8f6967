"""Words: how extractions are found by them, in SQL."""
