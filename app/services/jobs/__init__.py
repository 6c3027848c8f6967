"""Jobs: the interface of their handlers, and the service that follows and controls them."""
