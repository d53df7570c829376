"""How the localiser does on synthetic patients it was not trained on: `make evaluate-localiser`."""
