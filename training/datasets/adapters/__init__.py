"""One module per source of labels; each ends in `Adapted` rows of the manifest."""
