"""Numbers and tests of a binary classifier's predictions."""
