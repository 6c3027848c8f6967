"""Splits text into the terms of the full-text index, in any language. Pure: no store, no setting, no clock."""
