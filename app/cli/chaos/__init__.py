"""``agent-storage chaos``: puts a separate store under load, and injects faults into it."""
