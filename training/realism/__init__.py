"""Judge the synthetic spine against real MRI: tables of figures, a telltale, galleries."""
