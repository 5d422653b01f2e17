"""What may not arrive: vendors, parts, spares, exits, the hardware calendar, recovery."""
