// Takes orders, publishes them through Sidespan, and gets them back as signed webhooks.
//
// Environment: WEBHOOK_SECRET (whsec_...), PORT (8080), SIDESPAN_URL (http://127.0.0.1:7400).

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer, request } from "node:http";

const SIDESPAN = process.env.SIDESPAN_URL ?? "http://127.0.0.1:7400";
const PORT = Number(process.env.PORT ?? 8080);
const SECRET = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const LARGEST_BODY = 1 << 20;

const fulfilled = new Map(); // what has come back, by its webhook-id; a real service has a table for it

/** Resolves to Sidespan's answer: status 200 means that the order is stored. */
function publish(order) {
  const headers = {
    "content-type": "application/json",
    "sidespan-key": order.id,
    "idempotency-key": `"${order.id}"`,
  };
  return new Promise((resolve, reject) => {
    const url = `${SIDESPAN}/v1/topics/orders/messages`;
    const sent = request(url, { method: "POST", headers, signal: AbortSignal.timeout(15_000) });
    sent.on("error", reject);
    sent.on("response", (response) => {
      read(response).then((body) => resolve({ status: response.statusCode, content: JSON.parse(body) }), reject);
    });
    sent.end(JSON.stringify(order));
  });
}

/** Checks the signature as Standard Webhooks says; without one, anybody could send orders. */
function isSigned(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures } = headers;
  if (!/^\d+$/.test(timestamp ?? "") || Math.abs(Date.now() / 1000 - Number(timestamp)) > 300) return false;
  const expected = createHmac("sha256", SECRET).update(`${id}.${timestamp}.`).update(body).digest();
  // Several, while a secret is changed for another.
  return (signatures ?? "").split(" ").some((one) => {
    const [version, signature] = one.split(",", 2);
    const given = Buffer.from(signature ?? "", "base64");
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  });
}

async function takeOrder(body) {
  const order = parse(body);
  if (typeof order?.id !== "string" || !/^[a-z0-9]+$/i.test(order.id)) {
    return [400, { error: 'an order is {"id": "17", ...}' }];
  }
  try {
    const { status, content } = await publish(order);
    if (status === 200) return [201, content];
    return [status >= 500 ? 503 : 500, content];
  } catch (error) {
    return [503, { error: `not known to be stored, send it again: ${error.message}` }];
  }
}

function takeEvent(headers, body) {
  if (!isSigned(headers, body)) return [401, { error: "the signature is wrong" }];
  const order = parse(body);
  if (order === undefined) return [400, { error: "not JSON" }]; // 400: it will not get better
  // A message may come twice: the second time there is nothing left to do.
  if (!fulfilled.has(headers["webhook-id"])) fulfilled.set(headers["webhook-id"], order);
  return [204];
}

async function route(incoming) {
  switch (`${incoming.method} ${incoming.url}`) {
    case "GET /orders":
      return [200, [...fulfilled.values()]];
    case "POST /orders":
      return takeOrder(await read(incoming));
    case "POST /events":
      return takeEvent(incoming.headers, await read(incoming));
    default:
      return [404, { error: "try /orders" }];
  }
}

async function read(stream) {
  const pieces = [];
  let size = 0;
  for await (const piece of stream) {
    size += piece.length;
    if (size > LARGEST_BODY) throw new Error("the body is too large");
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function parse(body) {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

createServer(async (incoming, outgoing) => {
  const [status, content] = await route(incoming).catch((error) => [500, { error: error.message }]);
  outgoing.writeHead(status, content === undefined ? {} : { "content-type": "application/json" });
  outgoing.end(content === undefined ? undefined : JSON.stringify(content));
}).listen(PORT, "127.0.0.1", () => console.log(`takes orders on http://127.0.0.1:${PORT}/orders`));
