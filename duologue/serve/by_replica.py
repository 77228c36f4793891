"""Ray's router of a fleet, a class of its own because it needs Ray to be imported."""

from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica


class ByReplica(RequestRouter):
    """Requests of a handle with `session_id` go to the replica of that name; the others to the one with the fewest."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        wanted = pending_request.metadata.session_id if pending_request else ""
        named: list[Any] = [r for r in candidate_replicas if r.replica_id.unique_id == wanted]
        return [named or candidate_replicas]
