"""Jobs: what handlers get and give, and what those can ask who follow them."""
