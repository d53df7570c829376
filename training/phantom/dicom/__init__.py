"""A synthetic patient as a DICOM study: what is scanned, how each vendor stores it, its truth."""
