"""What anything costs: usage, prices, charges, estimates. Pure; one function computes an amount."""
