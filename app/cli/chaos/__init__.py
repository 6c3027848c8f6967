"""``agent-storage chaos``: a store of its own under load while everything in it is killed, stopped and starved."""
