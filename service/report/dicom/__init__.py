"""Results as DICOM objects of the study they were made from: SR, SEG, pictures, key objects."""
