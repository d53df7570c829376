"""How a study gets in and a report gets out."""
