"""The viewer of one case in a browser: its layers, its page, and the local server that hands them out, read-only."""
