"""NIfTI scans as input, alone or beside DICOM: from files to one volume."""
