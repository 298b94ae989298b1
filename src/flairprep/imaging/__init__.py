"""From volume to volume, and NIfTI files."""
