"""Karpathy's recipe as checks."""
