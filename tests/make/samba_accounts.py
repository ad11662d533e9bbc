"""Run by the system's own Python, which knows Samba: makes the accounts and keytabs of the lab.

    python3 samba_accounts.py SMB_CONF PLAN.json

The plan names accounts with their passwords and states, service names, and keytabs. One process for
all of it, where `samba-tool` would take half a second for each.
"""

import json  # noqa: TID251 - the system's Python has no msgspec
import sys
from pathlib import Path
from typing import Any

import ldb
import samba
from samba.auth import system_session
from samba.net import Net
from samba.param import LoadParm
from samba.samdb import SamDB

AES_ONLY = "24"


def main(smb_conf: str, plan_file: str) -> None:
    """Make everything."""
    plan: dict[str, Any] = json.loads(Path(plan_file).read_text())
    lp = LoadParm()
    lp.load(smb_conf)
    sam = SamDB(url=lp.samdb_url(), session_info=system_session(), lp=lp)
    base = sam.domain_dn()
    for name, about in plan["accounts"].items():
        sam.newuser(name, about["password"])
        found = f"(sAMAccountName={name})"
        state = about.get("state", "")
        if state != "must-change":
            sam.setexpiry(found, 0, no_expiry_req=True)
        if state == "disabled":
            sam.disable_account(found)
        elif state == "expired":
            sam.setexpiry(found, 0)
        elif state == "must-change":
            sam.setpassword(found, about["password"], force_change_at_next_login=True)
    for name, about in plan["computers"].items():
        if about.get("password"):
            sam.newcomputer(name)
            sam.setpassword(f"(sAMAccountName={name}$)", about["password"])
        found = f"(sAMAccountName={name}$)"
        modify(sam, found, base, "servicePrincipalName", *about["services"])
        modify(sam, found, base, "msDS-SupportedEncryptionTypes", about.get("etypes", AES_ONLY))
    samba.enable_net_export_keytab()
    net = Net(None, lp)
    for file, principals in plan["keytabs"].items():
        for principal in principals:
            net.export_keytab(keytab=file, principal=principal)


def modify(sam: Any, found: str, base: str, attribute: str, *values: str) -> None:
    """Set an attribute of one account; service names are added to those that it has."""
    dn = sam.search(base, expression=found, attrs=["dn"])[0].dn
    message = ldb.Message(dn)
    how = ldb.FLAG_MOD_REPLACE
    if attribute == "servicePrincipalName":
        has = sam.search(dn, scope=ldb.SCOPE_BASE, attrs=[attribute])[0].get(attribute, [])
        old = {str(value).lower() for value in has}
        values = (*(str(one) for one in has), *(one for one in values if one.lower() not in old))
    message[attribute] = ldb.MessageElement(list(values), how, attribute)
    sam.modify(message)


main(*sys.argv[1:])
