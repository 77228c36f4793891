"""The encoder of references as a service: what MoshiRAG's server asks at REFERENCE_ENCODER_URL.

`POST /embed` takes `{"text": ...}` and answers with safetensors: `tensor`, float32 `[1, T, D]`, a vector a frame.
`GET /spec` says which condition it is, `GET /health` that the service runs.
"""

import asyncio
import json
from pathlib import Path

import uvicorn
from safetensors.torch import save
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from duologue.config import LMConfig
from duologue.engine.references import References
from duologue.serve.run import listen
from duologue.weights import load
from duologue.weights.reference import ReferenceTokenizer, load_encoder

LARGEST = 1 << 16  # bytes of a request


def create_app(references: References, config: LMConfig) -> Starlette:
    """The service. `config`: of the language model that the references are for."""
    conditioning = config.conditioning
    assert conditioning.encoder is not None
    spec = {
        "conditioner_name": conditioning.encoder.name,
        "text_conditioners": [conditioning.encoder.name],
        "tensor_conditioners": [],
        "fuser": {"sum": [], "cross": [], "prepend": [], "streaming_sum": list(conditioning.streamed)},
    }

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "healthy", "service": "condition_encoder"})

    async def said(_: Request) -> Response:
        return JSONResponse(spec)

    async def embed(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                return JSONResponse({"detail": f"a request has at most {LARGEST} bytes"}, 413)
        try:
            text = json.loads(body).get("text", "")
            if not isinstance(text, str):
                raise ValueError
        except (ValueError, AttributeError, RecursionError):
            return JSONResponse({"detail": 'the body is {"text": "..."}'}, 422)
        vectors_TD = await asyncio.to_thread(references.vectors, text)
        return Response(
            save({"tensor": vectors_TD[None].contiguous()}), media_type="application/octet-stream"
        )

    return Starlette(
        routes=[Route("/health", health), Route("/spec", said), Route("/embed", embed, methods=["POST"])]
    )


def serve(model: str, device: str, host: str, port: int, tokenizer: Path | None = None) -> None:
    """Serve a model's encoder until Ctrl-C. Raises InputError for what can be known to be wrong before."""
    opened = load(model, device)
    listening = listen(host, port)
    try:
        references = References(load_encoder(opened), ReferenceTokenizer(tokenizer).encode)
        app = create_app(references, opened.files.config.lm)
        print(
            f"the references of {opened.name} listen at http://{host}:{listening.getsockname()[1]}",
            flush=True,
        )
        config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False)
        uvicorn.Server(config).run([listening])
    finally:
        listening.close()
