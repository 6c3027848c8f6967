"""The worker: claims jobs under leases, runs their handlers, settles them, and stops in time."""
