"""Resume flow runs whose approval was given where nobody knows of Prefect: through the tracking server, by a script.

`mlgate approvals approve` resumes a flow run at once when `PREFECT_API_URL` is set; this looks every minute.
"""

from __future__ import annotations

from prefect import flow

from mlgate.prefect import resume_decided


@flow(name="resume-approved")
def resume() -> list[str]:
    """Ids of the flow runs that were resumed."""
    return resume_decided()


if __name__ == "__main__":
    resume.serve(name="every-minute", cron="* * * * *")
