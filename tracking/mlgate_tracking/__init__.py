"""The tracking store: experiments, runs, metrics, artifacts, models and their registry."""
