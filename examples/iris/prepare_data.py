"""Clean the raw measurements and split them into a training and a test table."""

import argparse
from pathlib import Path

import mlflow
from src import data


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw-data-path", required=True)
    parser.add_argument("--output-path", default="data/processed")
    options = parser.parse_args()

    frame = data.load(options.raw_data_path)
    clean = frame.drop_duplicates()
    train = clean.groupby(data.TARGET, group_keys=False).sample(frac=0.8, random_state=0)
    test = clean.drop(index=train.index)

    folder = Path(options.output_path)
    folder.mkdir(parents=True, exist_ok=True)
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)

    with mlflow.start_run():
        mlflow.log_metrics({"rows_raw": len(frame), "rows_clean": len(clean), "rows_test": len(test)})
        mlflow.log_artifacts(str(folder), "processed")
    print(f"{len(frame)} rows read, {len(clean)} kept, {len(test)} of them for testing")


if __name__ == "__main__":
    main()
