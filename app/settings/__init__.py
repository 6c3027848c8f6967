"""The settings: their sections, sources, checks and display."""
