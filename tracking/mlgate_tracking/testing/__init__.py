"""What the tracking package offers to tests, its own and those of plug-ins; needs pytest."""
