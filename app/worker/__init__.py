"""The worker: claims jobs under a lease, runs their handlers, settles them, and stops in time."""
