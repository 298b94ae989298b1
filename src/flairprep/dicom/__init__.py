"""From DICOM files to one volume."""
