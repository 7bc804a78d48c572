"""Load a logged or registered model and score it on a table."""

import argparse

import mlflow
import mlflow.pyfunc
from src import data, report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-uri", required=True)
    parser.add_argument("--data-path", default="data/raw/iris.csv")
    options = parser.parse_args()

    model = mlflow.pyfunc.load_model(options.model_uri)
    frame = data.load(options.data_path)
    predicted = model.predict(frame[data.FEATURES])

    with mlflow.start_run():
        metrics = report.scores(frame[data.TARGET], predicted)
        mlflow.log_metrics(metrics)
        mlflow.log_figure(report.confusion_matrix_figure(frame[data.TARGET], predicted), "confusion_matrix.png")
    print(f"{options.model_uri}: accuracy {metrics['accuracy']:.4f} on {len(frame)} flowers")


if __name__ == "__main__":
    main()
