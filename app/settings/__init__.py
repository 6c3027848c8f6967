"""The settings: their sections, where they are given, what they must hold, and how they are shown."""
