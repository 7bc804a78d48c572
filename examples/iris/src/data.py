"""The iris measurements: 150 flowers, four lengths in centimetres, three species (R. A. Fisher, 1936)."""

import pandas as pd
from sklearn.model_selection import train_test_split

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
TARGET = "species"


def load(path):
    """The table at `path`; refuses one that lacks a column or holds an empty cell."""
    frame = pd.read_csv(path)
    missing = [column for column in [*FEATURES, TARGET] if column not in frame.columns]
    if missing:
        raise ValueError(f"{path}: columns missing: {', '.join(missing)}")
    if frame[[*FEATURES, TARGET]].isna().any().any():
        raise ValueError(f"{path}: there are empty cells")
    return frame


def split(frame, test_size, random_state):
    """Stratified split into (X_train, X_test, y_train, y_test)."""
    return train_test_split(
        frame[FEATURES], frame[TARGET], test_size=test_size, random_state=random_state, stratify=frame[TARGET]
    )
