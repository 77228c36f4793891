"""Delegates that answer the user's questions: an OpenAI-compatible chat completions server, or a command."""

import asyncio
import contextlib
import json
import os
import shlex
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import httpx2

from duologue.errors import InputError
from duologue.serve.settings import Settings

PROMPT = (
    "You tell a voice assistant what to say. It has told the caller to wait; what you write is spoken at once. "
    "Answer the last question in one or two short sentences of plain words, without lists, marks or links. If you do "
    "not know, say so."
)
KEY = "DUOLOGUE_DELEGATE_KEY"  # the environment variable with the key of the chat server
CONNECT_SECONDS, READ_SECONDS = 3.0, 20.0
MAX_LINE = 1 << 16  # bytes of a line that a command prints
Turns = Sequence[tuple[str, str]]


class DelegateError(Exception):
    """The delegate has no answer."""


class Delegate(Protocol):
    """Answers the last turn of a conversation, given as (role, text) pairs."""

    def answer(self, turns: Turns) -> AsyncIterator[str]:
        """Streams the text of the answer. Raises DelegateError."""
        ...


class ChatDelegate:
    """An OpenAI-compatible chat completions server at `url` (such as http://localhost:8080/v1). Uses the first model
    that the server lists. Raises InputError if `url` is not an HTTP address."""

    def __init__(self, url: str):
        parts = httpx2.URL(url)
        if parts.scheme not in ("http", "https") or not parts.host:
            raise InputError(f"--delegate {url} is no address such as http://localhost:8080/v1")
        self._url = str(parts).rstrip("/")
        self._model: str | None = None
        key = os.environ.get(KEY)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._ssl = httpx2.create_ssl_context()  # made once: it reads all certificates

    async def answer(self, turns: Turns) -> AsyncIterator[str]:
        messages = [{"role": "system", "content": PROMPT}]
        messages += [{"role": role, "content": text} for role, text in turns]
        timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with httpx2.AsyncClient(timeout=timeout, headers=self._headers, verify=self._ssl) as client:
                body = {"model": await self._chosen(client), "messages": messages, "stream": True}
                async with client.stream("POST", f"{self._url}/chat/completions", json=body) as response:
                    response.raise_for_status()
                    async for line in response.aiter_lines():
                        if piece := _piece(line):
                            yield piece
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, IndexError) as error:
            raise DelegateError(f"{self._url}: {error}") from None

    async def _chosen(self, client: httpx2.AsyncClient) -> str:
        if self._model is None:
            response = await client.get(f"{self._url}/models")
            response.raise_for_status()
            self._model = str(response.json()["data"][0]["id"])
        return self._model


def _piece(line: str) -> str:
    """The text in one line of a server-sent event stream."""
    if not line.startswith("data:") or line[5:].strip() == "[DONE]":
        return ""
    choices = json.loads(line[5:])["choices"]
    return (choices[0]["delta"].get("content") or "") if choices else ""


class CommandDelegate:
    """A command that reads the turns from its standard input as JSON, `[{"role": ..., "content": ...}, ...]`, and
    prints the answer. Raises InputError for a command line that cannot be parsed."""

    def __init__(self, command: str):
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise InputError(f"--delegate-command {command}: {error}") from None
        if not self._arguments:
            raise InputError("--delegate-command names no command")

    async def answer(self, turns: Turns) -> AsyncIterator[str]:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *self._arguments, stdin=pipe, stdout=pipe, limit=MAX_LINE
            )
        except OSError as error:
            raise DelegateError(f"{self._arguments[0]}: {error.strerror}") from None
        assert process.stdin is not None and process.stdout is not None
        try:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(json.dumps([{"role": r, "content": t} for r, t in turns]).encode())
                process.stdin.close()
            async for line in process.stdout:
                yield line.decode(errors="replace")
            if code := await process.wait():
                raise DelegateError(f"{self._arguments[0]} ended with {code}")
        except ValueError:
            raise DelegateError(f"{self._arguments[0]} printed a line that is too long") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def delegate_of(settings: Settings) -> Delegate | None:
    """The delegate that the settings name, or None. Raises InputError if they name two or an invalid one."""
    if settings.delegate and settings.delegate_command:
        raise InputError("--delegate and --delegate-command do not go together")
    if settings.delegate:
        return ChatDelegate(settings.delegate)
    return CommandDelegate(settings.delegate_command) if settings.delegate_command else None
