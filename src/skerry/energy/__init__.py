"""Watts, watt-hours and grams, from curves and tables with a stated source.

Takes a machine's ratings, a utilisation and a grid's intensity; gives energy and carbon.
"""
