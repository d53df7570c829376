"""What is true of a synthetic spine, measured on its shapes and not on an image."""
