"""The networks, their training and their input pipeline."""
