"""A table of one's own and its items, read as people have them."""
