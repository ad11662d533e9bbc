// npm acme-client goes through the life of an account: order, proof, key change, revocation.
//
//     node issue.mjs '{"directoryUrl":…,"kind":"http-01","port":…,"txt":…,"names":[…],"output":…}'
//
// Responses to http-01 and tls-alpn-01 are served on the port; TXT records are files in a folder.
// With "binding": {"kid":…, "hmacKey":…} the account is bound, with "changeKey" its key is changed.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { createSecureContext, createServer as createTlsServer } from "node:tls";
import acme from "acme-client";

const wish = JSON.parse(process.argv[2]);
const responses = new Map();
const places = {
  "http-01": {
    listener: createServer((request, response) => {
      const body = responses.get(request.url);
      response.writeHead(body ? 200 : 404, { "Content-Type": "application/octet-stream" });
      response.end(body);
    }),
    put: async (authorization, { token }, text) =>
      responses.set(`/.well-known/acme-challenge/${token}`, text),
    remove: async (authorization, { token }) =>
      responses.delete(`/.well-known/acme-challenge/${token}`),
  },
  "tls-alpn-01": {
    listener: createTlsServer({
      ALPNProtocols: ["acme-tls/1"],
      SNICallback: (name, done) => done(null, responses.get(name)),
    }),
    put: async (authorization, challenge, text) => {
      const [key, cert] = await acme.crypto.createAlpnCertificate(authorization, text);
      responses.set(authorization.identifier.value, createSecureContext({ key, cert }));
    },
    remove: async (authorization) => responses.delete(authorization.identifier.value),
  },
  "dns-01": {
    put: async ({ identifier }, challenge, text) => {
      mkdirSync(join(wish.txt, `_acme-challenge.${identifier.value}`), { recursive: true });
      writeFileSync(join(wish.txt, `_acme-challenge.${identifier.value}`, text), "");
    },
    remove: async ({ identifier }, challenge, text) =>
      rmSync(join(wish.txt, `_acme-challenge.${identifier.value}`, text)),
  },
};
const place = places[wish.kind];
if (place.listener) {
  await new Promise((listening) => place.listener.listen(wish.port, "127.0.0.1", listening));
}

try {
  const client = new acme.Client({
    directoryUrl: wish.directoryUrl,
    accountKey: await acme.crypto.createPrivateKey(),
    externalAccountBinding: wish.binding,
  });
  const csrOf = { commonName: wish.names[0], altNames: wish.names };
  const [key, csr] = await acme.crypto.createCsr(csrOf, await acme.crypto.createPrivateEcdsaKey());
  await client.createAccount({
    termsOfServiceAgreed: true,
    contact: ["mailto:admin@corp.example"],
  });
  if (wish.changeKey) await client.updateAccountKey(await acme.crypto.createPrivateEcdsaKey());
  const chain = await client.auto({
    csr,
    email: "admin@corp.example",
    termsOfServiceAgreed: true,
    skipChallengeVerification: true, // it would look the name up itself
    challengePriority: [wish.kind],
    challengeCreateFn: place.put,
    challengeRemoveFn: place.remove,
  });
  mkdirSync(wish.output, { recursive: true });
  writeFileSync(join(wish.output, "key.pem"), key);
  writeFileSync(join(wish.output, "chain.pem"), chain);
  await client.revokeCertificate(chain, { reason: 4 });
  await client.updateAccount({ contact: ["mailto:other@corp.example"] });
  const left = await client.updateAccount({ status: "deactivated" });
  if (left.status !== "deactivated") throw new Error(`the account is ${left.status}`);
} finally {
  if (place.listener) place.listener.close();
}
