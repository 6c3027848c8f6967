"""Backups of SQLite's file that say themselves whether they are whole, and how they are restored."""
