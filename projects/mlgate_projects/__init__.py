"""MLproject files: parse them, fetch their source, make their environments, run their commands."""
