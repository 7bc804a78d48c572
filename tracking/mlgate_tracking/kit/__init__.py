"""What goes into a step's own environment: plain Python 3.8+, no dependencies, never makes a user's script fail."""
