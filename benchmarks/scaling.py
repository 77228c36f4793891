"""Replicas come and go with the slots in use, and cut no conversation: `python -m benchmarks.scaling`.

Starts `serve --ray` with one replica of four slots, and up to two, on a local Ray instance (needs the extra `ray`).
The model says what it hears. Four clients talk: half of the slots are to be free, so a second replica must come. Four
more talk, of whom some are on it. Then all leave but one on each replica: one replica is enough, so the other must go,
but only when its conversation is over. Prints, and exits with 1 where something did not happen,

    added_after_s     from the four clients on until the second replica runs
    used              clients that each replica has when eight talk
    held_s            how long the replica that is to go has waited for its conversation
    removed_after_s   from the end of that conversation until the replica is gone
    lost              connections lost by anybody; must be 0
"""

import asyncio
import json
import sys
import time
from collections import Counter

from benchmarks.fleet import Client, replicas, served
from duologue.serve.line import SEPARATOR

DOWNSCALE_SECONDS = 5.0
WAIT_SECONDS = 300.0


async def until(condition, seconds: float = WAIT_SECONDS) -> float | None:
    """How long it took; None if it did not come about."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return round(time.monotonic() - began, 1)
        await asyncio.sleep(0.5)
    return None


def home(client: Client) -> str:
    """The replica that holds its conversation: what the token ends with."""
    return client.token.rpartition(SEPARATOR)[2]


async def course(url: str) -> dict:
    clients: list[Client] = []
    talks: list[asyncio.Task] = []

    async def more(count: int) -> None:
        for _ in range(count):
            clients.append(Client(url))
            talks.append(asyncio.create_task(clients[-1].talk(float("inf"))))
            await asyncio.sleep(0.1)
        await until(lambda: all(client.came for client in clients))

    async def leave(numbers: set[int]) -> None:
        for number in numbers:
            clients[number].ends = 0.0
        await asyncio.gather(*(talks[number] for number in numbers))

    report: dict = {}
    start = time.monotonic()
    await more(4)
    report["added_after_s"] = await until(lambda: len(replicas()) == 2)
    await asyncio.sleep(5.0)  # until the proxy knows it
    await more(4)
    homes = [home(client) for client in clients]
    report["used"] = sorted(Counter(homes).values())
    last = {homes.index(each) for each in set(homes)}
    await leave(set(range(8)) - last)
    began = time.monotonic()
    await asyncio.sleep(2 * DOWNSCALE_SECONDS + 15.0)
    report["held_s"] = round(time.monotonic() - began, 1) if len(replicas()) == 2 else 0.0
    await leave(last)
    report["removed_after_s"] = await until(lambda: len(replicas()) == 1)
    for number, client in enumerate(clients):
        told = ", ".join(f"{event} {at - start:.1f}" for at, event in client.events if event != "refused")
        print(f"client {number}, on {homes[number]}: {told}", file=sys.stderr)
    report["lost"] = sum(event == "lost" for client in clients for _, event in client.events)
    return report


def main() -> None:
    flags = ["--replicas", "1", "--most-replicas", "2", "--sessions", "4", "--queue", "0"]
    with served("echo", *flags, DUOLOGUE_DOWNSCALE_SECONDS=str(DOWNSCALE_SECONDS)) as server:
        report = asyncio.run(course(server.url))
    print(json.dumps(report))
    held = report["added_after_s"] is not None and report["removed_after_s"] is not None
    sys.exit(0 if held and report["held_s"] and not report["lost"] and len(report["used"]) == 2 else 1)


if __name__ == "__main__":
    main()
