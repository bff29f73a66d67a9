// Publishes an order: publish.ts ID ITEM

import createClient from "openapi-fetch";
import type { paths } from "../sidespan.js"; // npm run generate makes it from the OpenAPI document

const [id = "", item = ""] = process.argv.slice(2);
const sidespan = createClient<paths>({ baseUrl: process.env.SIDESPAN_URL ?? "http://127.0.0.1:7400" });

const { data: receipt, error: problem } = await sidespan.POST("/v1/topics/{topic}/messages", {
  params: {
    path: { topic: "orders" },
    header: { "Sidespan-Key": id, "Idempotency-Key": `"${id}"` },
  },
  body: { id, item },
  signal: AbortSignal.timeout(15_000),
});
if (problem) {
  console.error(`${problem.code}: ${problem.detail} (retry: ${problem.retryable})`);
  process.exit(1);
}
console.log(JSON.stringify(receipt));
