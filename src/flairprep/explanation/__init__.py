"""Where a network looks: maps of what hiding a part of its input changes, and their control."""
