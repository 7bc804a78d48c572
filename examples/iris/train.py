"""Train a random forest on the iris measurements and log what it did."""

import argparse

import mlflow
import mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.ensemble import RandomForestClassifier
from src import data, report


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-estimators", type=int, default=100)
    parser.add_argument("--max-depth", type=int, default=5)
    parser.add_argument("--test-size", type=float, default=0.2)
    parser.add_argument("--random-state", type=int, default=42)
    parser.add_argument("--data-path", default="data/raw/iris.csv")
    options = parser.parse_args()

    mlflow.set_experiment("iris_classification")
    with mlflow.start_run() as run:
        x_train, x_test, y_train, y_test = data.split(
            data.load(options.data_path), options.test_size, options.random_state
        )
        mlflow.log_param("rows", len(x_train) + len(x_test))

        model = RandomForestClassifier(
            n_estimators=options.n_estimators, max_depth=options.max_depth, random_state=options.random_state
        ).fit(x_train, y_train)

        predicted = model.predict(x_test)
        metrics = report.scores(y_test, predicted)
        mlflow.log_metrics(metrics)
        mlflow.log_figure(report.confusion_matrix_figure(y_test, predicted), "confusion_matrix.png")
        mlflow.sklearn.log_model(
            model,
            name="iris_model",
            serialization_format="cloudpickle",  # the trees of a forest are no plain data
            signature=infer_signature(x_train, model.predict(x_train)),
            input_example=x_train.head(3),
        )
        print(f"accuracy {metrics['accuracy']:.4f} on {len(x_test)} flowers, run {run.info.run_id}")


if __name__ == "__main__":
    main()
