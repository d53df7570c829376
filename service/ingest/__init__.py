"""From DICOM bytes to volumes in patient space: inventory, roles, stacks, selection."""
