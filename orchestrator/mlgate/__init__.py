"""mlgate runs MLproject files inside the orchestrator that a team already has."""

__version__ = "0.1.0"
