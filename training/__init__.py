"""How weights are made. The service never imports this package."""
