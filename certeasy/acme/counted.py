"""Requests in figures: how long each resource takes, and what clients are answered."""

import re

import falcon

from certeasy.clock import Clock
from certeasy.decide.problems import Problem
from certeasy.metrics import Metrics

ELSEWHERE = "none"
"""The resource of what is asked for where there is none."""
_PLACE = re.compile(r"\{[^}]*\}")


class Counted:
    """falcon asks it first and last."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._resources: dict[str | None, str] = {None: ELSEWHERE}

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Note when it began."""
        req.context.begun = self._clock.monotonic()

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool
    ) -> None:
        """Note what was answered, and how long it took."""
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
