"""Where sites should be: an instance with its rules, solvers, bounds and an independent check."""
