"""The database layer: translated errors, the dialects' specifics, the schema and its migrations."""
