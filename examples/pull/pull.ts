// Fetches orders and settles them, until it is stopped.

import createClient from "openapi-fetch";
import type { paths } from "../sidespan.js"; // npm run generate makes it from the OpenAPI document

const sidespan = createClient<paths>({ baseUrl: process.env.SIDESPAN_URL ?? "http://127.0.0.1:7400" });
const params = { path: { subscription: "billing" } };

while (true) {
  // Waits for the first message, and returns what is there then: maybe nothing.
  const { data, error } = await sidespan.POST("/v1/subscriptions/{subscription}/pull", {
    params,
    body: { max_messages: 10, wait: "10s" },
  });
  if (error) throw new Error(error.detail);
  const ack_ids: string[] = [];
  for (const { position, ack_id, data: order } of data.messages) {
    const { id, item } = order as { id: string; item: string };
    console.log(position, id, item);
    if (ack_id) ack_ids.push(ack_id);
  }
  if (ack_ids.length > 0) {
    const settled = await sidespan.POST("/v1/subscriptions/{subscription}/ack", { params, body: { ack_ids } });
    // 409: a lease was over before the work was; that message comes again.
    if (settled.error) console.error(settled.error.detail);
  }
}
