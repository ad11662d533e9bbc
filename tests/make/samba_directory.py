"""Run by the system's own Python, which knows Samba: puts objects into the lab's directory.

    python3 samba_directory.py SMB_CONF PLAN.json > SIDS.json

The plan has objects (attributes in base64, by their names), and rights in SDDL by the objects they
are of, with `{ACCOUNT}` in the place of that account's SID. What is printed is the SIDs of the
accounts that the plan names. Samba itself makes the descriptors: none of it is of our making.
"""

import base64
import json  # noqa: TID251 - the system's Python has no msgspec
import sys
from pathlib import Path
from typing import Any

import ldb
from samba.auth import system_session
from samba.dcerpc import security
from samba.ndr import ndr_pack, ndr_unpack
from samba.param import LoadParm
from samba.samdb import SamDB


def main(smb_conf: str, plan_file: str) -> None:
    """Put them there; what is there already is changed."""
    plan: dict[str, Any] = json.loads(Path(plan_file).read_text())
    lp = LoadParm()
    lp.load(smb_conf)
    sam = SamDB(url=lp.samdb_url(), session_info=system_session(), lp=lp)
    sids = {}
    for name in plan["accounts"]:
        found = sam.search(expression=f"(sAMAccountName={name})", attrs=["objectSid"])[0]
        sids[name] = str(ndr_unpack(security.dom_sid, found["objectSid"][0]))
    for dn, attributes in plan["objects"].items():
        put(sam, dn, {name: [base64.b64decode(each) for each in values]
                      for name, values in attributes.items()})  # fmt: skip
    domain = security.dom_sid(sam.get_domain_sid())
    for dn, sddl in plan["rights"].items():
        for name, sid in sids.items():
            sddl = sddl.replace("{" + name + "}", sid)  # noqa: PLW2901 - filled in, bit by bit
        made = ndr_pack(security.descriptor.from_sddl(sddl, domain))
        message = ldb.Message(ldb.Dn(sam, dn))
        message["nTSecurityDescriptor"] = ldb.MessageElement(
            [made], ldb.FLAG_MOD_REPLACE, "nTSecurityDescriptor"
        )
        sam.modify(message, ["sd_flags:1:7"])
    print(json.dumps(sids))  # noqa: T201 - for the test


def put(sam: SamDB, dn: str, attributes: dict[str, list[bytes]]) -> None:
    """Add an object, or change the one that is there."""
    there = sam.search(
        base="CN=Configuration," + str(sam.domain_dn()), expression=f"(distinguishedName={dn})"
    )
    message = ldb.Message(ldb.Dn(sam, dn))
    flag = ldb.FLAG_MOD_REPLACE if there else ldb.FLAG_MOD_ADD
    for name, values in attributes.items():
        if values and not (there and name == "objectClass"):
            message[name] = ldb.MessageElement(values, flag, name)
    (sam.modify if there else sam.add)(message)


main(*sys.argv[1:])
