"""What the admin listener tells.

`/healthz`: the process lives. `/readyz`: it can take orders now, and if not, why; and how the
authorities are, which changes nothing about that: orders wait for them. `/ca.pem`: the
roots of the embedded CAs, for machines whose clients must trust them. `/metrics`: figures for
Prometheus (docs/monitoring.md).
"""

from collections.abc import Callable, Mapping

import falcon
import msgspec

from certeasy.metrics import CONTENT_TYPE, Metrics

Check = Callable[[], str | None]
"""Returns None if all is well, else the reason in one line."""


class Readiness:
    """The checks behind /readyz, by name. A check that raises has failed."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self.checks = dict(checks)
        self.remarks: Mapping[str, Check] = {}
        """What is told beside them, and makes a node no less ready."""

    def failures(self) -> dict[str, str | None]:
        """Run all checks; return each one's reason, or None where it is well."""
        return _results(self.checks)

    def remarked(self) -> dict[str, str | None]:
        """Return what is told beside the checks."""
        return _results(self.remarks)


def _results(checks: Mapping[str, Check]) -> dict[str, str | None]:
    results: dict[str, str | None] = {}
    for name, check in checks.items():
        try:
            results[name] = check()
        except Exception as error:  # noqa: BLE001 - whatever it is, the check has failed
            results[name] = f"the check itself failed: {error}"
    return results


class _Alive:
    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        _answer(response, {"status": "ok"}, ready=True)


class _Ready:
    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        failures = self._readiness.failures()
        ready = not any(failures.values())
        told = failures | self._readiness.remarked()
        checks = {name: reason or "ok" for name, reason in told.items()}
        _answer(
            response, {"status": "ready" if ready else "not ready", "checks": checks}, ready=ready
        )


class _Roots:
    def __init__(self, roots: Callable[[], bytes]) -> None:
        self._roots = roots

    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = "application/x-pem-file"
        response.data = self._roots()
        if not response.data:
            raise falcon.HTTPNotFound(description="no authority of this server has a root to show")


class _Figures:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_get(self, _request: falcon.Request, response: falcon.Response) -> None:
        response.content_type = CONTENT_TYPE
        response.cache_control = ["no-store"]
        response.data = self._metrics.text()


def build(
    readiness: Readiness,
    roots: Callable[[], bytes] = lambda: b"",
    metrics: Metrics | None = None,
) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the WSGI application of the admin listener."""
    app = falcon.App()
    app.add_route("/healthz", _Alive())
    app.add_route("/readyz", _Ready(readiness))
    app.add_route("/ca.pem", _Roots(roots))
    app.add_route("/metrics", _Figures(metrics or Metrics()))
    return app


def _answer(response: falcon.Response, body: object, *, ready: bool) -> None:
    response.status = falcon.HTTP_200 if ready else falcon.HTTP_503
    response.content_type = "application/json"
    response.cache_control = ["no-store"]
    response.data = msgspec.json.encode(body) + b"\n"
