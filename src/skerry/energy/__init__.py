"""Watts, watt-hours and grams, from curves and tables with a stated source."""
