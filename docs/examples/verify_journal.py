"""Verify journals with the standard library and joserfc: verify_journal.py KEYS JOURNAL..."""
# ruff: noqa: ANN001, ANN201, D103, INP001, PTH123, SIM115, T201, TID251 - short

import heapq
import json
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from joserfc import errors, jwk, jws

MEMBERS = "v position server_id seq prev head at stream version type schema actor data".split()
HEADER = '{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"%s"}'
BEGIN = {"seq": 0, "position": 0, "hash": "0" * 64, "at": ""}
JWS = jws.JWSRegistry(algorithms=["EdDSA"])
JWS.max_payload_length = MOST = 256 * 1024
JWS.algorithms["EdDSA"].security_warning = ""  # the older name, which every JOSE library knows


def read(line, last, keys):  # the next line of a journal: one spelling, chained, signed
    payload, mark, signed = line.removesuffix(b'"}\n').rpartition(b',"jws":"')
    event = json.loads(payload + b"}")
    outer = json.dumps({m: event[m] for m in MEMBERS[:-2]}, ensure_ascii=False, separators=",:")
    header, signature = (urlsafe_b64decode(part + b"==") for part in signed.split(b".."))
    node = {"server_id": event["server_id"], "kid": json.loads(header)["kid"]}
    spelled = (HEADER % node["kid"]).encode(), signature
    exact = b"..".join(urlsafe_b64encode(raw).rstrip(b"=") for raw in spelled)
    jws.deserialize_compact(signed, keys, registry=JWS, payload=payload + b"}")
    rules = {
        "not a whole line": mark and line.endswith(b'"}\n') and len(line) <= MOST + 1,
        "not an event of format 1": list(event) == MEMBERS and event["v"] == 1,
        "not canonical": payload.startswith(outer[:-1].encode() + b',"actor":'),
        "not JOSE's one spelling": signed == exact,
        "another node's, or key's": last is BEGIN or node.items() <= last.items(),
        "not the next line": (event["seq"], event["prev"]) == (last["seq"] + 1, last["hash"]),
    }
    if not all(rules.values()):
        raise ValueError(next(rule for rule, holds in rules.items() if not holds))
    own = event["data"] if event["type"] == "node.key-rotated" else node  # tells the next line's
    return event | node | {"kid": own["kid"], "hash": sha256(line[:-1]).hexdigest()}


def journal(path, keys, last=BEGIN):
    for number, line in enumerate(open(path, "rb"), start=1):
        try:
            last = read(line, last, keys) | {"place": f"{path}:{number}"}
        except (ValueError, KeyError, TypeError, errors.JoseError) as error:
            sys.exit(f"{path}:{number}: {error}")
        yield last


keys, versions, last = jwk.KeySet.import_key_set(json.load(open(sys.argv[1]))), {}, BEGIN
for event in heapq.merge(*(journal(p, keys) for p in sys.argv[2:]), key=lambda e: e["position"]):
    versions[event["stream"]] = versions.get(event["stream"], 0) + 1
    wanted = last["position"] + 1, last["hash"], versions[event["stream"]]
    if (event["position"], event["head"], event["version"]) != wanted or event["at"] < last["at"]:
        sys.exit(f"{event['place']}: not the log's next line: a journal is missing, or not its own")
    last = event
print(f"{last['position']} lines verified, head {last['hash']}")
sys.exit(last is BEGIN and "the log is empty: nothing is proven")
