"""A small server of OpenAI's chat completions."""

import http.server
import json
import threading
import time
from collections.abc import Callable
from typing import Any


class ChatServer:
    """Streams the answer to a question word by word, `wait` seconds after it was asked; answers with `status` alone if
    that is an error. `asked`: the requests; `began`: when each answer's first word was sent, in `time.monotonic`."""

    def __init__(self, answer: Callable[[str], str], wait: float = 0.0, status: int = 200):
        self.asked: list[dict[str, Any]] = []
        self.began: list[float] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, format: str, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                self._begin()
                self.wfile.write(json.dumps({"data": [{"id": "small"}]}).encode())

            def do_POST(self) -> None:
                outer.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._begin()
                time.sleep(wait)
                outer.began.append(time.monotonic())
                for word in answer(outer.asked[-1]["messages"][-1]["content"]).split():
                    delta = {"choices": [{"delta": {"content": f"{word} "}}]}
                    self.wfile.write(f"data: {json.dumps(delta)}\n\n".encode())
                self.wfile.write(b"data: [DONE]\n\n")

            def _begin(self) -> None:
                self.send_response(status)
                self.end_headers()

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
