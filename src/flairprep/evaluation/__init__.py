"""One run's predictions and their diagnosis."""
