"""The registry through a client: versions of every source, aliases, stages, searches, copies, deletes, prompts."""

import json
import sys

import mlflow
from mlflow.exceptions import MlflowException

V3 = mlflow.__version__.startswith("3.")
MODEL = "registry-" + mlflow.__version__
client = mlflow.MlflowClient()
seen = {"version": mlflow.__version__}


def refused(call, *arguments, **options):
    """The code that the server refuses a call with."""
    try:
        call(*arguments, **options)
    except MlflowException as error:
        return error.error_code
    return None


def numbers(versions):
    return sorted(int(version.version) for version in versions)


mlflow.set_experiment(MODEL)
with mlflow.start_run() as run:
    mlflow.log_text("weights", "model/weights.txt")
run_id = run.info.run_id
inside = run.info.artifact_uri + "/model"

# --- models and versions
client.create_registered_model(MODEL, tags={"team": "ml"}, description="first")
seen["taken"] = refused(client.create_registered_model, MODEL)
seen["bad names"] = [refused(client.create_registered_model, name) for name in ("a/b", "a:b", " ")]
first = client.create_model_version(MODEL, inside, run_id, tags={"k": "1"}, description="one", run_link="http://run")
seen["first"] = [first.version == "1" or first.version == 1, first.current_stage, first.status, first.run_id == run_id]
client.create_model_version(MODEL, "s3://bucket/model", tags={"k": "2"})
client.create_model_version(MODEL, f"runs:/{run_id}/model", run_id)
seen["outside"] = [
    refused(client.create_model_version, MODEL, source, run_id)
    for source in ("/etc/passwd", "file:///etc/passwd", "s3://b/../c", "mlflow-artifacts:/0/x", "http://host/model")
]
seen["download"] = [client.get_model_version_download_uri(MODEL, "1") == inside, client.get_model_version_download_uri(MODEL, "2")]
seen["unknown"] = [
    refused(client.get_registered_model, "nobody"),
    refused(client.get_model_version, MODEL, "9"),
    refused(client.get_model_version_by_alias, MODEL, "nobody"),
    refused(client.create_model_version, "nobody", "s3://bucket/model"),
]

# --- tags, descriptions
client.set_registered_model_tag(MODEL, "owner", "me")
client.set_registered_model_tag(MODEL, "owner", "you")
client.delete_registered_model_tag(MODEL, "team")
client.delete_registered_model_tag(MODEL, "team")
client.update_registered_model(MODEL, description="second")
client.set_model_version_tag(MODEL, "1", "checked", "yes")
client.delete_model_version_tag(MODEL, "1", "k")
client.update_model_version(MODEL, "1", description="changed")
model, version = client.get_registered_model(MODEL), client.get_model_version(MODEL, "1")
seen["described"] = [model.description, model.tags, version.description, version.tags]

# --- aliases
client.set_registered_model_alias(MODEL, "champion", "1")
client.set_registered_model_alias(MODEL, "Other", "1")
seen["aliases"] = [sorted(client.get_model_version(MODEL, "1").aliases), dict(client.get_registered_model(MODEL).aliases)]
client.set_registered_model_alias(MODEL, "champion", "2")
seen["champion"] = int(client.get_model_version_by_alias(MODEL, "champion").version)
seen["reserved"] = [refused(client.set_registered_model_alias, MODEL, alias, "1") for alias in ("latest", "v1")]
client.delete_registered_model_alias(MODEL, "Other")
client.delete_registered_model_alias(MODEL, "Other")

# --- stages
client.transition_model_version_stage(MODEL, "1", "staging")
client.transition_model_version_stage(MODEL, "2", "Production")
client.transition_model_version_stage(MODEL, "3", "Production", archive_existing_versions=True)
seen["stages"] = [client.get_model_version(MODEL, number).current_stage for number in "123"]
seen["latest"] = {stage: numbers(client.get_latest_versions(MODEL, [stage])) for stage in ("None", "Staging", "Production")}
seen["all latest"] = numbers(client.get_latest_versions(MODEL))
seen["bad stage"] = refused(client.transition_model_version_stage, MODEL, "1", "Live")

# --- searches
mine = f"name = '{MODEL}'"
filters = [
    mine,
    f"{mine} and run_id = '{run_id}'",
    f"{mine} and run_id != '{run_id}'",
    f"{mine} and version_number > 1",
    f"{mine} and source_path LIKE 's3://%'",
    f"{mine} and tags.k = '2'",
    f"{mine} and tags.checked != 'no'",
    f"name ILIKE '{MODEL.upper()}' and version_number <= 2",
    f"run_id IN ('{run_id}')",
]
seen["versions"] = [numbers(client.search_model_versions(text)) for text in filters]
ordered = client.search_model_versions(mine, order_by=["version_number DESC"])
seen["ordered"] = [int(version.version) for version in ordered]
pages, token = [], None
while True:
    page = client.search_model_versions(mine, max_results=2, order_by=["version_number ASC"], page_token=token)
    pages.append(numbers(page))
    token = page.token
    if not token:
        break
seen["pages"] = pages
for letter in "abc":
    client.create_registered_model(f"{MODEL}-{letter}", tags={"letter": letter})
family = f"name LIKE '{MODEL}%'"
seen["models"] = [
    [model.name[len(MODEL) :] for model in client.search_registered_models(text, order_by=order)]
    for text, order in (
        (family, ["name ASC"]),
        (family, ["name DESC"]),
        (f"{family} and tags.letter = 'b'", None),
        (f"{family} and tags.letter != 'b'", None),
        (f"name ILIKE '{MODEL.upper()}-A'", None),
        (f"name IN ('{MODEL}-c', 'nobody')", None),
    )
]
seen["model pages"] = [
    len(client.search_registered_models(family, max_results=3)),
    bool(client.search_registered_models(family, max_results=3).token),
    bool(client.search_registered_models(family, max_results=4).token),
]
seen["bad searches"] = [
    refused(client.search_registered_models, "last_updated_timestamp > 1"),
    refused(client.search_model_versions, "current_stage = 'Production'"),
    refused(client.search_model_versions, "name == 'x'"),
]

# --- copies, renames, deletes
if V3:
    copied = client.copy_model_version(f"models:/{MODEL}@champion", MODEL + "-a")
    copies = [int(copied.version), copied.source, client.get_model_version_download_uri(MODEL + "-a", "1")]
    seen["copy"] = copies
client.rename_registered_model(MODEL + "-b", MODEL + "-z")
seen["renamed"] = [refused(client.get_registered_model, MODEL + "-b"), client.get_registered_model(MODEL + "-z").tags]
seen["rename taken"] = refused(client.rename_registered_model, MODEL + "-z", MODEL)
client.delete_model_version(MODEL, "2")
seen["after delete"] = [
    numbers(client.search_model_versions(mine)),
    refused(client.get_model_version, MODEL, "2"),
    refused(client.delete_model_version, MODEL, "2"),
    refused(client.get_model_version_by_alias, MODEL, "champion"),
    int(client.create_model_version(MODEL, "s3://bucket/again").version),
]

# --- what only newer clients know
if V3:
    prompt = mlflow.genai.register_prompt(name=MODEL + "-prompt", template="Hello {{name}}")
    again = mlflow.genai.register_prompt(name=MODEL + "-prompt", template="Bye {{name}}")
    mlflow.genai.set_prompt_alias(MODEL + "-prompt", "best", prompt.version)
    seen["prompts"] = [
        mlflow.genai.load_prompt(f"prompts:/{MODEL}-prompt@best").template,
        mlflow.genai.load_prompt(f"prompts:/{MODEL}-prompt/{again.version}").format(name="you"),
        [found.name for found in mlflow.genai.search_prompts(f"name = '{MODEL}-prompt'")] == [MODEL + "-prompt"],
        [found.name for found in client.search_registered_models(f"name = '{MODEL}-prompt'")],
        refused(client.create_registered_model, MODEL + "-prompt"),
    ]
    logged = mlflow.initialize_logged_model(name="external", tags={"stage": "dev"}, params={"depth": "3"})
    client.finalize_logged_model(logged.model_id, "READY")
    registered = mlflow.register_model(f"models:/{logged.model_id}", MODEL + "-c")
    seen["from logged model"] = [
        int(registered.version),
        client.get_model_version_download_uri(MODEL + "-c", registered.version) == logged.artifact_location,
        MODEL + "-c" in client.get_logged_model(logged.model_id).tags["mlflow.modelVersions"],
    ]
    experiment = client.get_experiment_by_name(MODEL).experiment_id
    seen["logged models"] = [
        len(client.search_logged_models([experiment], filter_string=text))
        for text in ("params.depth = '3'", "tags.stage != 'dev'", "name = 'external' AND status = 'READY'")
    ]
    client.delete_logged_model(logged.model_id)
    seen["deleted logged model"] = refused(client.get_logged_model, logged.model_id)

client.delete_registered_model(MODEL)
seen["gone"] = [refused(client.get_registered_model, MODEL), client.search_model_versions(mine)[:1]]
json.dump(seen, sys.stdout)
