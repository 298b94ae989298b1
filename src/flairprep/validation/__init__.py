"""External validation: a run's network on another cohort, its shift against the training cohort, leaks into it."""
