"""Journals that earlier versions wrote are verified, decoded and folded for ever."""

from pathlib import Path

import pytest

from events.envelope import parse
from events.registry import NAMES, TYPES, encode_data
from events.signing import read_key_set
from journal.lines import read_journal
from journal.verify import verify
from projections.accounts import ACCOUNTS, DEACTIVATED
from projections.certificates import CERTIFICATES
from projections.fold import fold
from projections.orders import ORDERS
from projections.tables import WorkingRows

HERE = Path(__file__).parent
GOLDEN = sorted({path.name.split(".")[0] for path in HERE.glob("golden-*.keys.json")})


def journals(golden: str) -> list[Path]:
    return sorted(HERE.glob(f"{golden}.*.log"))


def records(golden: str):
    every = [line for path in journals(golden) for line in read_journal([path])]
    lines = [parse(line.data) for line in every if not line.orphaned]
    return sorted(lines, key=lambda record: record.envelope.position)


@pytest.mark.parametrize("golden", GOLDEN)
def test_a_golden_journal_is_verified(golden):
    keys = read_key_set((HERE / f"{golden}.keys.json").read_bytes())
    summary = verify([read_journal([path]) for path in journals(golden)], keys, threads=1)
    assert summary.lines == len(records(golden))
    assert summary.complete


@pytest.mark.parametrize("golden", GOLDEN)
def test_a_golden_journal_is_decoded_and_of_today_s_shapes_encoded_as_it_was(golden):
    for record in records(golden):
        line, fact = record.envelope, record.event
        assert type(fact) is TYPES[line.type]
        if line.schema == NAMES[type(fact)][1]:
            assert encode_data(fact) == bytes(line.data)


def test_the_first_golden_journal_is_folded():
    rows = WorkingRows(lambda _table, _key: None)
    for record in records("golden-1"):
        fold(record, rows)
    changed = rows.changes()
    statuses = sorted(order.status for order in changed[ORDERS].values())
    assert statuses == ["invalid", "invalid", "valid", "valid"]
    assert [account.status for account in changed[ACCOUNTS].values()] == [DEACTIVATED, "valid"]
    assert [bool(c.revoked) for c in changed[CERTIFICATES].values()] == [True, False]


def test_every_event_of_today_is_in_a_golden_journal():
    seen = {(r.envelope.type, r.envelope.schema) for golden in GOLDEN for r in records(golden)}
    assert set(NAMES.values()) <= seen, "write a golden journal with what is missing"
