"""The domain as plain values: no SQLAlchemy, no numpy, no input or output."""
