"""A running service, used through its HTTP API in place of the container's parts."""
