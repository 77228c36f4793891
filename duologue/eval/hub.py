"""Publish a model on the Hugging Face hub, with its model card."""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import huggingface_hub as hub
from huggingface_hub import errors

from duologue.errors import InputError
from duologue.eval.card import about_of, read_results, technical_facts, write_card
from duologue.weights import load
from duologue.weights.convert import Format, Quantize, convert
from duologue.weights.files import check_repository

LICENSES = {"MIT": "mit", "Apache-2.0": "apache-2.0", "CC-BY 4.0": "cc-by-4.0", "CC-BY-4.0": "cc-by-4.0"}


def push_to_hub(
    model: str,
    repository: str,
    results: Sequence[Path] = (),
    about: Path | None = None,
    format: Format = "pytorch",
    quantize: Quantize | None = None,
    private: bool = False,
) -> str:
    """Upload `model` (anything that `load` opens) to the hub repository OWNER/NAME, in one commit, as
    `weights.convert` writes it, with a model card as README.md. Returns the URL of the commit.

    The repository is created if it does not exist. `results` and `about` are those of `duologue card`. The token is the
    one of `hf auth login`, or HF_TOKEN. Raises InputError before any upload if something is missing, and if the hub
    refuses.
    """
    check_repository(repository)
    if hub.get_token() is None:
        raise InputError("the hub needs a token: run `hf auth login`, or set HF_TOKEN")
    opened, figures = load(model, "cpu"), read_results(results)
    texts = about_of(opened, about)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        convert(model, folder, format, quantize)
        card = write_card(f"hf://{repository}", technical_facts(opened), texts, figures)
        (folder / "README.md").write_text(front_matter(texts, opened.parts()) + card)
        return _upload(folder, repository, private)


def front_matter(about: dict[str, str], parts: Iterable[str]) -> str:
    """The metadata by which the hub finds a model: license, library, task and tags, in YAML."""
    license = next((known for name, known in LICENSES.items() if name in about.get("license", "")), "other")
    task = "audio-to-audio" if "lm" in parts else "feature-extraction"
    tags = ["speech", "full-duplex", "neural-codec"] if "lm" in parts else ["speech", "neural-codec"]
    lines = ["---", f"license: {license}", "library_name: duologue", f"pipeline_tag: {task}", "tags:"]
    return "\n".join([*lines, *(f"- {tag}" for tag in tags), "---", "", ""])


def _upload(folder: Path, repository: str, private: bool) -> str:
    api = hub.HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload by duologue")
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        reason = {
            401: "the token is not valid: run `hf auth login`",
            403: "the token may not write there: give it write access, or use a repository of your own",
        }.get(status, f"the hub answered {status}: {(error.server_message or str(error)).splitlines()[0]}")
        raise InputError(f"cannot push to hf://{repository}: {reason}") from None
    except Exception as error:  # anything that a network may raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"cannot push to hf://{repository}: {reason}") from None
    return str(done.commit_url)
