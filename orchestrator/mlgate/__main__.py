"""`python -m mlgate`: the same as the `mlgate` command."""

from mlgate.cli.main import mlgate

if __name__ == "__main__":
    mlgate()
