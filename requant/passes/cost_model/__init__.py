"""What a choice costs: the loss at a site, the range margin, the search over solvers, and the probe of the outputs."""
