"""What is for the operator alone, on a listener of its own."""
