"""Is it worth it for me: one log, trace or bill, and an answer with its range."""
