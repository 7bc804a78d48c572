"""An MLflow user's own promotion pipeline, by stages, on the registry that the gates look after."""

import json
import os
import sys

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

MODEL = "iris_classifier"
client = MlflowClient()


class ModelPromotionPipeline:
    """Registers, compares and moves versions between stages by MLflow's calls alone."""

    def register(self, run_id):
        (logged,) = mlflow.search_logged_models(
            experiment_ids=[client.get_run(run_id).info.experiment_id],
            filter_string=f"source_run_id = '{run_id}'",
            output_format="list",
        )
        return mlflow.register_model(f"models:/{logged.model_id}", MODEL).version

    def accuracy(self, version):
        return client.get_run(client.get_model_version(MODEL, version).run_id).data.metrics["accuracy"]

    def promote(self, version, stage):
        current = client.get_latest_versions(MODEL, [stage])
        if current and self.accuracy(version) < self.accuracy(current[0].version):
            return False
        client.transition_model_version_stage(MODEL, version, stage, archive_existing_versions=stage == "Production")
        return True


def stages():
    return {version.version: version.current_stage for version in client.search_model_versions(f"name = '{MODEL}'")}


def refused(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except MlflowException as error:
        return [error.error_code, "is protected" in error.message]
    return None


def main():
    pipeline = ModelPromotionPipeline()
    what, arguments = sys.argv[1] if len(sys.argv) > 1 else os.environ["STORY"], json.loads(os.environ["ARGUMENTS"])
    seen = {}
    if what == "register":
        seen["versions"] = [int(pipeline.register(run_id)) for run_id in arguments["runs"]]
        seen["accuracies"] = [pipeline.accuracy(version) for version in seen["versions"]]
    elif what == "look":
        seen["champion"] = int(client.get_model_version_by_alias(MODEL, "champion").version)
        loaded = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")
        seen["features"] = loaded.metadata.get_input_schema().input_names()
    elif what == "stages":
        seen["moved"] = [pipeline.promote(str(version), stage) for version, stage in arguments["moves"]]
    elif what == "protected":
        seen["transition"] = refused(client.transition_model_version_stage, MODEL, "1", "Production")
        seen["alias"] = refused(client.set_registered_model_alias, MODEL, "champion", "1")
    seen["stages"] = stages()
    print(json.dumps(seen))


main()
