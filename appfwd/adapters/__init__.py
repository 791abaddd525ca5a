"""The outside, one module for each system; they know the model and the ports, not each other."""
