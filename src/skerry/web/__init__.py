"""Pages for people: self-contained reports."""
