// Verify every line of a journal with npm `jose` and Node alone: signatures and the chain.
//
//     node verify_journal.mjs JOURNAL KEYS      KEYS: the nodes' public keys, a JWK set
//
// Prints "N lines verified" and exits 0; or names the first line that does not hold and exits 1.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { flattenedVerify, importJWK } from "jose";

const MARK = Buffer.from(',"jws":"');
const END = Buffer.from('"}');
const [journal, keyFile] = process.argv.slice(2);
const keys = new Map();
for (const jwk of JSON.parse(readFileSync(keyFile, "utf8")).keys) {
  keys.set(jwk.kid, await importJWK(jwk, "EdDSA"));
}

function* linesOf(bytes) {
  let start = 0;
  for (let end; (end = bytes.indexOf(0x0a, start)) >= 0; start = end + 1) yield bytes.subarray(start, end);
  if (start < bytes.length) throw new Error("the last line does not end");
}

// What was signed: the line's own bytes without the member `jws`, never what a JSON library makes of them.
function split(line) {
  const at = line.lastIndexOf(MARK);
  if (at < 0 || !line.subarray(-2).equals(END)) throw new Error("no signature");
  const payload = Buffer.concat([line.subarray(0, at), Buffer.from("}")]);
  const [header, nothing, signature, ...rest] = line.subarray(at + MARK.length, -2).toString("latin1").split(".");
  if (nothing !== "" || signature === undefined || rest.length) throw new Error("no detached signature");
  return { payload, header, signature };
}

async function verify(line) {
  const { payload, header, signature } = split(line);
  const { kid } = JSON.parse(Buffer.from(header, "base64url"));
  if (!keys.has(kid)) throw new Error(`no key ${kid}`);
  const exact = JSON.stringify({ alg: "EdDSA", b64: false, crit: ["b64"], kid });
  if (header !== Buffer.from(exact).toString("base64url")) throw new Error("an unusual header");
  if (signature !== Buffer.from(signature, "base64url").toString("base64url")) throw new Error("an unusual signature");
  const options = { algorithms: ["EdDSA"], crit: { b64: true } };
  await flattenedVerify({ protected: header, payload, signature }, keys.get(kid), options);
  return JSON.parse(payload);
}

let count = 0;
try {
  let prev = "0".repeat(64);
  for (const line of linesOf(readFileSync(journal))) {
    const event = await verify(line);
    if (event.v !== 1) throw new Error(`format ${event.v}`);
    if (event.seq !== count + 1) throw new Error(`seq ${event.seq} where ${count + 1} belongs`);
    if (event.prev !== prev) throw new Error("prev is not the hash of the line before");
    prev = createHash("sha256").update(line).digest("hex");
    count += 1;
  }
  if (count === 0) throw new Error("no line at all");
} catch (error) {
  console.error(`${journal}:${count + 1}: ${error.message}`);
  process.exit(1);
}
console.log(`${count} lines verified`);
