"""Trained networks applied to scans: the pipeline's own steps on one case, its code and params, predictions."""
