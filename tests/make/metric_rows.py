"""The rows of docs/monitoring.md, as the declarations make them.

Printed for whoever adds a figure: `python -m tests.make.metric_rows`.
"""

from prometheus_client.metrics import MetricWrapperBase

from certeasy.metrics import Metrics


def declared() -> dict[str, MetricWrapperBase]:
    """Return the server's own figures, by the names that Prometheus has them under."""
    every = vars(Metrics()).values()
    figures = [each for each in every if isinstance(each, MetricWrapperBase)]
    return {f"{each._name}{suffix(each)}": each for each in figures if not each._labelvalues}


def suffix(metric: MetricWrapperBase) -> str:
    """Return what a counter's name ends in."""
    return "_total" if metric._type == "counter" else ""


def row(name: str, metric: MetricWrapperBase) -> str:
    """Return a figure's row of the table."""
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"| `{name}` | {metric._type} | {labels} | {metric._documentation} |"


if __name__ == "__main__":
    for name, metric in declared().items():
        print(row(name, metric))  # noqa: T201 - it is to be pasted into the page
