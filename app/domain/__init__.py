"""What the product speaks of, as plain values: no SQLAlchemy, no numpy, nothing that opens anything."""
