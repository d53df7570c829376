"""How the localiser's weights are made: crops of synthetic spines, loss, loop, validation."""
