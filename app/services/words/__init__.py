"""Search by words, in SQL."""
