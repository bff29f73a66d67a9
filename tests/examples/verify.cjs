// Checks a webhook with the official library: verify.cjs SECRET FILE, with {headers, body} in FILE.

const { readFileSync } = require("node:fs");
const { Webhook } = require("standardwebhooks");

const [secret, file] = process.argv.slice(2);
const { headers, body } = JSON.parse(readFileSync(file, "utf8"));
new Webhook(secret).verify(body, headers);
