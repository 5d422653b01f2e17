"""What things cost: cash flows, their present value, and every view on them."""
