"""Models of the Hugging Face hub: a name and the commit that it is pinned to, downloaded once."""

from __future__ import annotations

import re
from pathlib import Path

from align_data.common.errors import InputError
from align_data.models.pytorch.folder_files import CONFIG, INDEX, PICKLED, PROCESSOR_FILES, SAFE, TOKENIZER_FILES

NAME = re.compile(r"(?P<name>\w[\w.-]*/[\w.-]+?)(@(?P<revision>[^@]*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SECONDS = 10.0
"""What the hub may take to answer at all."""
_SAFE = [CONFIG, *TOKENIZER_FILES, *PROCESSOR_FILES, "model*.safetensors", f"{SAFE}{INDEX}"]
_PICKLED = [PICKLED, "pytorch_model-*.bin", f"{PICKLED}{INDEX}"]


def downloaded(spec: str) -> Path:
    """Return the folder that org/name@COMMIT is in, downloading it where it is not here; InputError where it cannot be.

    What is here already is not asked for again. Without a commit, nothing is downloaded: who looks at the scores later
    could not say of which weights they are.
    """
    match = NAME.fullmatch(spec)
    if match is None:
        raise InputError(f"there is no folder {spec}")
    name, revision = match["name"], match["revision"]
    if revision is None or not _COMMIT.fullmatch(revision):
        raise InputError(
            f"there is no folder {spec}, and as a name of the hub it is not pinned: give it as {name}@COMMIT, a commit "
            "of 40 digits"
        )
    return _downloaded(name, revision)


def _downloaded(name: str, revision: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415 - only who asks for a name of the hub needs it

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=_SAFE))
        if (folder / CONFIG).exists():
            return folder
    except Exception:  # noqa: S110 - it is not here
        pass
    try:
        # Asked first, and once: a download tries again for half a minute where there is no network.
        files = HfApi().model_info(name, revision=revision, timeout=_SECONDS).siblings or []
        safe = any(file.rfilename.endswith(".safetensors") for file in files)
        wanted = _SAFE if safe else [*_SAFE, *_PICKLED]
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except Exception as error:  # of the hub, of the network beneath it, or of a file
        message = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"the model {name}@{revision} cannot be had from the hub: {message}") from None
