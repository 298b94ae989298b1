"""flairprep: FLAIR brain scans from DICOM to a trained 3D CNN and a verdict that can be believed."""

__version__ = "0.2.0"
