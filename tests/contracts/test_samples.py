"""What every keeper of samples promises, wherever it keeps them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certeasy.jobs.samples import MemorySamples, Samples
from certeasy.store import Store
from certeasy.store.samples import DatabaseSamples, Sample
from tests.make.postgres import Postgres, settings_of

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
ONE, OTHER = "1" * 36, "2" * 36


class SamplesContract:
    """`samples` is one keeper, `others` is another node's of the same record."""

    def test_there_are_none_at_first(self, samples: Samples) -> None:
        assert samples.all() == []

    def test_every_node_has_its_latest_of_every_authority(
        self, samples: Samples, others: Samples
    ) -> None:
        first = Sample("ca", ONE, NOW, 12)
        later = Sample("ca", ONE, NOW + timedelta(microseconds=1), 10_000, "it did not answer")
        second, third = Sample("ca", OTHER, NOW, 9), Sample("another", OTHER, NOW, 3)
        for sample in (first, later):
            samples.put(sample)
        for sample in (second, third):
            others.put(sample)
        assert samples.all() == others.all() == [third, later, second]

    def test_a_reason_is_any_text(self, samples: Samples) -> None:
        sample = Sample(
            "ca", ONE, NOW, 0, "0x80070005: Zugriff verweigert \u00e4\u00f6\u00fc \u4e2d"
        )
        samples.put(sample)
        assert samples.all() == [sample]


class TestMemory(SamplesContract):
    """One process: every thread has the same keeper."""

    @pytest.fixture
    def samples(self) -> Samples:
        return MemorySamples()

    @pytest.fixture
    def others(self, samples: Samples) -> Samples:
        return samples


class TestSqlite(SamplesContract):
    """Two stores on one file: two connections that know nothing of each other."""

    @pytest.fixture
    def samples(self, tmp_path: Path) -> Iterator[Samples]:
        store = Store.sqlite(tmp_path / "db.sqlite")
        store.create("installation")
        yield DatabaseSamples(store)
        store.close()

    @pytest.fixture
    def others(self, tmp_path: Path, samples: Samples) -> Iterator[Samples]:
        store = Store.sqlite(tmp_path / "db.sqlite")
        yield DatabaseSamples(store)
        store.close()


class TestPostgres(SamplesContract):
    """Two stores on one database."""

    @pytest.fixture
    def address(self, postgres: Postgres) -> str:
        return postgres.a_database()

    @pytest.fixture
    def samples(self, address: str) -> Iterator[Samples]:
        store = Store.open(settings_of(address))
        store.create("installation")
        yield DatabaseSamples(store)
        store.close()

    @pytest.fixture
    def others(self, address: str, samples: Samples) -> Iterator[Samples]:
        store = Store.open(settings_of(address))
        yield DatabaseSamples(store)
        store.close()
