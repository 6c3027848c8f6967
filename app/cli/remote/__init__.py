"""The container's parts, implemented over the HTTP API of a running service."""
