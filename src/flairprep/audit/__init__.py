"""Leaks between folds and shortcuts to the label."""
