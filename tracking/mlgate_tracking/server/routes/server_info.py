"""What the server says of itself, as 3.x clients ask it before they move files or traces."""

from __future__ import annotations

from mlgate_tracking.artifacts import DirectTransfer
from mlgate_tracking.server.decode import Empty
from mlgate_tracking.server.endpoints import Call, endpoint
from mlgate_tracking.wire import Json


def server_info(call: Call, _request: Empty) -> Json:
    """Which optional parts of the protocol this server has."""
    direct = call.server.settings.serve_artifacts and isinstance(call.server.proxied, DirectTransfer)
    return {
        "store_type": "SqlStore",
        "workspaces_enabled": False,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": direct,
        "multipart_downloads_enabled": direct,
        "artifact_serving_enabled": call.server.settings.serve_artifacts,
        "presigned_upload_run_id_supported": True,
        "presigned_upload_model_id_supported": True,
        "artifacts_presigned_only": False,
        "tracking_auth": "",
    }


ENDPOINTS = (
    endpoint("GET", "3.0/mlflow/server-info", Empty, server_info, store_type="string"),
)  # fmt: skip

__all__ = ["ENDPOINTS"]
