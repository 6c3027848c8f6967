"""Splits text into the terms of the full-text index, in any language.

Pure functions: no store, no settings, no clock.
"""
