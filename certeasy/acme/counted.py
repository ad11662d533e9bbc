"""Requests by name and number: each has an id, which lines of the log and problem documents say,
and is counted: how long each resource takes, and what clients are answered."""

import re

import falcon

from certeasy.clock import Clock
from certeasy.decide.problems import Problem
from certeasy.ids import Ids
from certeasy.log import in_request
from certeasy.metrics import Metrics

ELSEWHERE = "none"
"""The resource of what is asked for where there is none."""
_PLACE = re.compile(r"\{[^}]*\}")


class Counted:
    """falcon asks it first and last."""

    def __init__(self, clock: Clock, ids: Ids, metrics: Metrics) -> None:
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._resources: dict[str | None, str] = {None: ELSEWHERE}

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Note when it began, and give it its id."""
        in_request(self._ids.uuid())
        req.context.begun = self._clock.monotonic()

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool
    ) -> None:
        """Note what was answered, and how long it took."""
        in_request("")
        took = self._clock.monotonic() - req.context.begun
        self._metrics.requests.labels(self._resource(req.uri_template)).observe(took)
        self._metrics.responses.labels(str(resp.status_code)).inc()
        problem: Problem | None = getattr(resp.context, "problem", None)
        if problem is not None:
            self._metrics.problems.labels(problem.value[0]).inc()

    def _resource(self, template: str | None) -> str:
        """Return a resource's path, with a star for what differs."""
        if template not in self._resources:
            self._resources[template] = _PLACE.sub("*", template or "")
        return self._resources[template]
