// CloudEvents by the SDK for JavaScript, in every mode of HTTP.
//
//   sdk.mjs publish ADDRESS PLACE EVENTS        posts each event to ADDRESS in each mode, and all of them as a batch
//   sdk.mjs read ADDRESS PLACE EVENTS COUNT     receives at ADDRESS: says `ready`, and prints what comes then
//
// The SDK writes and reads attributes as they are, where HTTP has them percent-encoded: that is done here.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { CloudEvent, HTTP } from "cloudevents";

const [verb, address, , file, count] = process.argv.slice(2);

function eachAttribute(headers, change) {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, name.startsWith("ce-") ? change(value) : value]),
  );
}

async function post(url, { headers, body }) {
  const response = await fetch(url, { method: "POST", headers, body });
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
}

async function publish() {
  const events = JSON.parse(readFileSync(file, "utf8")).map(
    ({ data_base64, ...event }) =>
      new CloudEvent(data_base64 ? { ...event, data: Uint8Array.from(Buffer.from(data_base64, "base64")) } : event),
  );
  for (const event of events) {
    const { headers, body } = HTTP.binary(event);
    // The SDK says `application/json` of what is not there.
    if (event.datacontenttype === undefined) delete headers["content-type"];
    await post(address, { headers: eachAttribute(headers, (value) => encodeURIComponent(value)), body });
    await post(address, HTTP.structured(event));
  }
  const batch = `[${events.map((event) => HTTP.structured(event).body).join(",")}]`;
  const headers = { "content-type": "application/cloudevents-batch+json" };
  await post(address.replace("/messages", "/batches"), { headers, body: batch });
}

function show(mode, event) {
  const { data, data_base64, ...attributes } = event.toJSON();
  let bytes = Buffer.alloc(0);
  if (data_base64 !== undefined) bytes = Buffer.from(data_base64, "base64");
  else if (typeof data === "string" || data instanceof Uint8Array) bytes = Buffer.from(data);
  else if (data !== undefined && data !== null) bytes = Buffer.from(JSON.stringify(data));
  console.log(JSON.stringify({ mode, attributes, data: bytes.toString("base64") }));
}

function read() {
  let left = Number(count);
  const server = createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const mode = request.headers["content-type"]?.startsWith("application/cloudevents") ? "structured" : "binary";
      const headers = eachAttribute(request.headers, decodeURIComponent);
      const whole = Buffer.concat(chunks);
      // What is no text goes in as bytes.
      const isText = mode === "structured" || /json|^text/.test(request.headers["content-type"] ?? "");
      show(mode, HTTP.toEvent({ headers, body: isText ? whole.toString() : whole }));
      response.writeHead(204, { connection: "close" }).end();
      left -= 1;
      if (left === 0) server.close();
    });
  });
  server.listen(Number(new URL(address).port), "127.0.0.1", () => console.log("ready"));
}

await (verb === "publish" ? publish() : read());
