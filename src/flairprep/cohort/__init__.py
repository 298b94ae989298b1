"""Case ids, labels and folds."""
