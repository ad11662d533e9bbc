// npm acme-client goes through the life of an account: order, http-01, key change, revocation.
//
//     node issue.mjs DIRECTORY_URL HTTP01_PORT NAME OUTPUT_FOLDER
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import acme from "acme-client";

const [directoryUrl, port, name, folder] = process.argv.slice(2);
const responses = new Map();
const web = createServer((request, response) => {
  const body = responses.get(request.url);
  response.writeHead(body ? 200 : 404, { "Content-Type": "application/octet-stream" });
  response.end(body);
});
await new Promise((listening) => web.listen(Number(port), "127.0.0.1", listening));

try {
  const client = new acme.Client({ directoryUrl, accountKey: await acme.crypto.createPrivateKey() });
  const [key, csr] = await acme.crypto.createCsr({ altNames: [name] }, await acme.crypto.createPrivateEcdsaKey());
  const chain = await client.auto({
    csr,
    email: "admin@corp.example",
    termsOfServiceAgreed: true,
    skipChallengeVerification: true, // it would look the name up itself
    challengePriority: ["http-01"],
    challengeCreateFn: async (_, challenge, text) =>
      responses.set(`/.well-known/acme-challenge/${challenge.token}`, text),
    challengeRemoveFn: async (_, challenge) =>
      responses.delete(`/.well-known/acme-challenge/${challenge.token}`),
  });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "key.pem"), key);
  writeFileSync(join(folder, "chain.pem"), chain);
  await client.revokeCertificate(chain, { reason: 4 });
  await client.updateAccount({ contact: ["mailto:other@corp.example"] });
  const left = await client.updateAccount({ status: "deactivated" });
  if (left.status !== "deactivated") throw new Error(`the account is ${left.status}`);
} finally {
  web.close();
}
