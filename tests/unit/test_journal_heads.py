import pytest

from journal.heads import Head, encode_head, head_of, read_heads
from tests.make.journals import a_log

HEAD = head_of(a_log().records[-1])


def test_a_head_names_its_line_and_is_read_back():
    record = a_log(nodes=2).records[-1]
    head = head_of(record)
    line = record.envelope
    assert (head.position, head.server_id, head.seq) == (line.position, line.server_id, line.seq)
    assert head.hash == record.hash
    assert record.line.endswith(f'"{head.jws}"}}'.encode())
    assert read_heads(encode_head(head) + b"\n") == [head]


def test_heads_come_in_order_of_position():
    heads = [head_of(record) for record in a_log(nodes=2).records]
    text = b"\n\n".join(encode_head(head) for head in reversed(heads))
    assert read_heads(text) == heads
    assert read_heads(b"") == []


@pytest.mark.parametrize(
    "text",
    [b"{}", b"no", b"\xff\xfe", b"\0", encode_head(HEAD)[:-1], b'{"x":' + b"[" * 100_000],
    ids=range(6),
)
def test_what_is_no_head_is_refused_with_its_line(text):
    with pytest.raises(ValueError, match="line 2 is not a head"):
        read_heads(encode_head(HEAD) + b"\n" + text)


def test_a_head_has_no_other_members():
    with pytest.raises(ValueError, match="line 1 is not a head"):
        read_heads(b'{"more":1,' + encode_head(HEAD)[1:])
    assert Head.__struct_fields__ == ("position", "server_id", "seq", "hash", "jws")
