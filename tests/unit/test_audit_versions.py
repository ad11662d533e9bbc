from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from certeasy.audit.versions import DiskVersions
from journal.log import MemoryVersions


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 9))), st.integers(1, 5))
def test_streams_on_disk_are_remembered_as_those_in_memory(moves, hot):
    memory = MemoryVersions()
    with closing(DiskVersions(hot)) as disk:
        for stream, version in moves:
            assert disk.move(stream, version) == memory.move(stream, version)
