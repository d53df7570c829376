"""The synthetic spine: anatomy, disease, MR physics, and whole DICOM studies made of them."""
