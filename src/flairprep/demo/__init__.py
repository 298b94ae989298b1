"""The synthetic cohort: anatomy, acquisition and DICOM files."""
