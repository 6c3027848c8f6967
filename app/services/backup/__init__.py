"""Backups of SQLite's file, which can be verified by their manifests, and their restoring."""
