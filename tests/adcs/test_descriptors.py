"""Who may do what: security descriptors, read from bytes and judged as Windows judges them."""

import contextlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from impacket.ldap import ldaptypes

from certeasy.ca.adcs import descriptors
from certeasy.ca.adcs.descriptors import ENROLL, Malformed, granted, may_enroll, parse
from tests.make.descriptors import (
    ADMINS,
    AUTHENTICATED,
    FULL,
    SERVICE,
    USERS,
    a_descriptor,
    a_sid,
    an_entry,
)

AUTO_ENROLL = uuid.UUID("a05b8cc2-17bc-4802-a710-e7c15ab866a2")
MINE = frozenset({SERVICE, AUTHENTICATED, "S-1-1-0"})

# Owner S-1-5-32-544; one object entry: allow, control access, Enroll, to S-1-5-11.
GOLDEN = bytes.fromhex(
    "0100048014000000000000000000000024000000"  # revision, control, owner at 20, DACL at 36
    "01020000000000052000000020020000"  # S-1-5-32-544
    "0400300001000000"  # ACL: 48 bytes, one entry
    "050028000001000001000000"  # object entry: 40 bytes, mask 0x100, a GUID follows
    "68c9100efb78d21190d400c04f79dc55"
    "01010000000000050b000000"  # S-1-5-11
)


def enrolls(*entries: bytes) -> bool:
    return may_enroll(parse(a_descriptor(*entries)), MINE).granted


def test_the_bytes_of_the_specification_are_read():
    found = parse(GOLDEN)
    assert found.owner == "S-1-5-32-544"
    assert found.entries is not None
    [entry] = found.entries
    assert (entry.allows, entry.mask, entry.right, entry.sid) == (True, 0x100, ENROLL, "S-1-5-11")


def test_the_right_of_ones_own_sid_or_of_a_group_is_had():
    assert enrolls(an_entry(SERVICE, 0x100, ENROLL))
    assert enrolls(an_entry(AUTHENTICATED, 0x100, ENROLL))
    assert not enrolls(an_entry(ADMINS, 0x100, ENROLL))


@pytest.mark.parametrize(
    ("entry", "had"),
    [
        (an_entry(SERVICE, FULL), True),
        (an_entry(SERVICE, 0x1000_0000), True),  # generic all
        (an_entry(SERVICE, 0x100), True),  # all extended rights
        (an_entry(SERVICE, 0x100, AUTO_ENROLL), False),
        (an_entry(SERVICE, 0x1000_0000, AUTO_ENROLL), False),
        (an_entry(SERVICE, 0x20094), False),  # read
        (an_entry(SERVICE, 0x20, ENROLL), False),
        (an_entry(SERVICE, 0x100, ENROLL, flags=0x08), False),  # for children alone
        (an_entry(SERVICE, 0x100, ENROLL, flags=0x10), True),  # inherited from above
        (an_entry(SERVICE, 0x100, ENROLL, inherited=AUTO_ENROLL), True),
        (an_entry(SERVICE, 0x100, inherited=AUTO_ENROLL), True),
        (an_entry(SERVICE, 0x100, kind=0x09), False),  # with a condition
        (an_entry(SERVICE, 0x100, ENROLL, kind=0x0B), False),
        (an_entry(SERVICE, 0x100, kind=0x02), False),  # auditing
    ],
)
def test_what_an_entry_grants(entry: bytes, had: bool):
    assert enrolls(entry) is had


def test_the_first_entry_that_speaks_of_the_right_decides():
    allow, deny = an_entry(SERVICE, 0x100, ENROLL), an_entry(AUTHENTICATED, FULL, denies=True)
    assert not enrolls(deny, allow)
    assert enrolls(allow, deny)
    assert not enrolls(an_entry(SERVICE, 0x100, ENROLL, denies=True), allow)
    assert enrolls(an_entry(SERVICE, 0x100, AUTO_ENROLL, denies=True), allow)
    assert enrolls(an_entry(ADMINS, FULL, denies=True), allow)
    assert not enrolls(an_entry(SERVICE, 0x100, kind=0x0A), allow), "a condition denies"


def test_the_verdict_names_the_entry():
    by = may_enroll(parse(a_descriptor(an_entry(AUTHENTICATED, 0x100))), MINE).by
    assert by is not None
    assert by.sid == AUTHENTICATED
    assert may_enroll(parse(a_descriptor()), MINE).by is None


def test_without_a_dacl_everybody_may_and_with_an_empty_one_nobody():
    nobody = parse(a_descriptor())
    everybody = parse(a_descriptor(dacl=False))
    assert not may_enroll(nobody, MINE).granted
    assert may_enroll(everybody, MINE).granted
    assert descriptors.groups_of_everybody(everybody) == ("S-1-1-0",)
    assert descriptors.groups_of_everybody(nobody) == ()


def test_the_rights_on_a_ca_are_bits_of_its_own():
    found = parse(a_descriptor(an_entry(SERVICE, descriptors.CA_ENROLL)))
    assert granted(found, MINE, descriptors.CA_ENROLL).granted
    assert not granted(found, MINE, descriptors.CA_OFFICER).granted


def test_groups_of_all_users_are_known_by_their_sids():
    assert descriptors.everybody(AUTHENTICATED) == "Authenticated Users"
    assert descriptors.everybody(USERS) == "Domain Users"
    assert descriptors.everybody(SERVICE) is None
    assert descriptors.everybody("S-1-5-32-544") is None
    assert descriptors.everybody("") is None
    found = parse(a_descriptor(an_entry(USERS, 4), an_entry(ADMINS, 4), an_entry(USERS, 0x100)))
    assert descriptors.groups_of_everybody(found) == (USERS,)


@pytest.mark.parametrize(
    ("entry", "may"),
    [
        (an_entry(USERS, 0x40000), True),
        (an_entry(USERS, 0x80000), True),
        (an_entry(USERS, 0x20), True),
        (an_entry(USERS, 0x4000_0000), True),
        (an_entry(USERS, 0x4000_0000, AUTO_ENROLL), False),
        (an_entry(USERS, 0x20, AUTO_ENROLL), False),
        (an_entry(USERS, 0x20094), False),
    ],
)
def test_who_may_change_an_object(entry: bytes, may: bool):
    assert descriptors.may_change(parse(a_descriptor(entry)), {USERS}) is may


def test_the_owner_may_change_what_is_his():
    assert descriptors.may_change(parse(a_descriptor(owner=USERS)), {USERS})
    assert not descriptors.may_change(parse(a_descriptor(owner=None)), {USERS})


def test_a_sid_is_read_to_its_end():
    assert descriptors.sid(a_sid(SERVICE)) == SERVICE
    with pytest.raises(Malformed):
        descriptors.sid(a_sid(SERVICE) + b"\0")
    with pytest.raises(Malformed):
        descriptors.sid(b"\2" + a_sid(SERVICE)[1:])
    with pytest.raises(Malformed):
        descriptors.sid(b"\1\x10" + b"\0" * 80)
    with pytest.raises(Malformed):
        descriptors.sid(b"\1")


WHOLE = a_descriptor(
    an_entry(USERS, 0x20094), an_entry(SERVICE, 0x100, ENROLL, inherited=AUTO_ENROLL)
)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 19,
        b"\0" * (descriptors.LARGEST + 1),
        b"\2" + WHOLE[1:],
        WHOLE[:2] + b"\x04\x00" + WHOLE[4:],  # not self-relative
        a_descriptor(b"\0\0\3\0"),  # an entry shorter than its header
        a_descriptor(b"\0\0\xff\0"),  # longer than its list
        a_descriptor(b"\0\0\4\0"),  # without a mask
        a_descriptor(b"\5\0\x08\0\0\1\0\0"),  # without the flags of its GUIDs
        a_descriptor(b"\5\0\x0c\0\0\1\0\0\1\0\0\0"),  # without its GUID
        a_descriptor()[:-6] + b"\x08\0\1\0\0\0",  # one entry more than there is
    ],
)
def test_other_bytes_are_no_descriptor(data: bytes):
    with pytest.raises(Malformed):
        parse(data)


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_cut_descriptor_is_no_descriptor(length: int):
    with pytest.raises(Malformed):
        parse(WHOLE[:length])


@given(st.binary(max_size=200), st.integers(0, len(WHOLE)))
def test_any_bytes_are_a_descriptor_or_malformed(data: bytes, kept: int):
    with contextlib.suppress(Malformed):
        parse(WHOLE[:kept] + data)
    with contextlib.suppress(Malformed):
        parse(data)


SIDS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=15).map(
    lambda numbers: "-".join(map(str, ["S-1-5", *numbers]))
)
GUIDS = st.none() | st.uuids()


@given(
    st.lists(st.tuples(SIDS, st.integers(0, 2**32 - 1), GUIDS, GUIDS, st.booleans()), max_size=9)
)
def test_others_read_the_same(lines):
    """impacket's reader is by others, and reads what is written here as it is read here."""
    data = a_descriptor(
        *(
            an_entry(sid, mask, right, inherited=inherited, denies=denies)
            for sid, mask, right, inherited, denies in lines
        )
    )
    ours = parse(data)
    theirs = ldaptypes.SR_SECURITY_DESCRIPTOR(data)
    assert ours.owner == theirs["OwnerSid"].formatCanonical()
    assert ours.entries is not None
    assert [(e.sid, e.mask, e.allows) for e in ours.entries] == [
        (
            ace["Ace"]["Sid"].formatCanonical(),
            ace["Ace"]["Mask"]["Mask"],
            ace["AceType"] in {0, 5},
        )
        for ace in theirs["Dacl"].aces
    ]
    assert [e.right for e in ours.entries] == [right for _, _, right, _, _ in lines]
