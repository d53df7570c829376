"""What a level, a volume and a network are: numpy at the border, no DICOM, no web."""
