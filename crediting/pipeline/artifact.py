"""Producing and finding the stored results of the stages that come before evaluation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from crediting.errors import ArtifactError
from crediting.pipeline.address import Addressed
from crediting.pipeline.study import Study
from crediting.progress import say


def produce_once(
    study: Study, address: Addressed, label: str, produce: Callable[[Path], dict[str, Any]]
) -> None:
    """Run `produce` on the artifact's folder, unless the store has the artifact already.

    `produce` writes its files there and returns facts for the manifest. A second process that
    wants the same artifact waits for the first.
    """
    with study.store.producing(
        address.stage, address.fingerprint, address.content, address.parents
    ) as artifact:
        if artifact.already_complete:
            say(f"{label}: reused {artifact.folder.name}")
            return
        say(f"{label}: making {artifact.folder.name}")
        artifact.complete(produce(artifact.folder))


def completed(study: Study, address: Addressed, stage: str) -> Path:
    """Return the folder of an artifact that an earlier stage has made, its files verified.

    Raises:
        ArtifactError: it is not there yet, or a file is corrupt.
    """
    folder = study.stored_in(address)
    if not study.has_stored(address):
        raise ArtifactError(f"{folder} is not there yet; run stage={stage} first, or stage=all")
    study.manifest(address)  # which verifies the files
    return folder
