"""A study of one's own, outside a clone: its files, what its data say of params.yaml, and its upgrade."""
