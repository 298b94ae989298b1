"""The runs that DVC knows, and what they say together."""
