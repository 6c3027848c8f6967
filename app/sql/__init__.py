"""What lies between SQLAlchemy and the databases: errors, each dialect's own, the schema and its migrations."""
