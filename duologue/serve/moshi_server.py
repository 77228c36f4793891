"""The routes by which moshi-server describes itself: `/api/build_info` and `/api/modules_info`. Recognition is in
`moshi_asr`, synthesis in `moshi_tts`."""

import platform

from duologue import __version__
from duologue.serve.speech import Ears, Mouth


def build_info() -> dict[str, str]:
    """Build information; clients use it as a health check, so every value is a string."""
    return {
        "name": "duologue",
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def modules_info(ears: Ears | None, mouth: Mouth | None) -> list[dict[str, str]]:
    """One entry per model; every value is a string."""
    modules = []
    for kind, path, served in (
        ("batched_asr", "/api/asr-streaming", ears),
        ("py", "/api/tts_streaming", mouth),
    ):
        if served is not None:
            modules.append(
                {
                    "type": kind,
                    "path": path,
                    "lm": served.model.name,
                    "audio_tokenizer": served.model.files.config.codec_file,
                    "used_slots": str(served.worker.used),
                    "total_slots": str(served.slots),
                }
            )
    return modules
