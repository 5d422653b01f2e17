"""How many servers a trace needs: simulated queues, with formulas beside them."""
