"""Conditions on facts as SQL, with the same answers on every dialect."""
