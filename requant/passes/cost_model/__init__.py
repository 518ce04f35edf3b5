"""The cost model: the loss at a site, the range margin, the search over solvers, and the sensitivity of the outputs."""
