"""Case ids, identity, labels and folds."""
