// Makes a subscription, changes it, sends all of its messages again, and ends it.

import createClient from "openapi-fetch";
import type { paths } from "../sidespan.js"; // npm run generate makes it from the OpenAPI document

const sidespan = createClient<paths>({ baseUrl: process.env.SIDESPAN_URL ?? "http://127.0.0.1:7400" });
const path = { subscription: "audit-ts" };

const made = await sidespan.PUT("/v1/subscriptions/{subscription}", {
  params: { path },
  body: { topic: "orders", start: "begin", pull: {} },
});
if (made.error) throw new Error(made.error.detail);
console.log(made.data.name, made.data.state, "revision", made.data.revision);

// Only this version is meant: if somebody else changed it meanwhile, the answer is 412.
const changed = await sidespan.PATCH("/v1/subscriptions/{subscription}", {
  params: { path, header: { "If-Match": made.response.headers.get("ETag") ?? "*" } },
  body: { pull: { lease: "60s" } },
});
if (changed.error) throw new Error(changed.error.detail);
console.log("leases of", changed.data.pull?.lease);

// Every replica leaves the group, and messages stay with the broker.
const paused = await sidespan.POST("/v1/subscriptions/{subscription}/pause", { params: { path } });
if (paused.error) throw new Error(paused.error.detail);
const resumed = await sidespan.POST("/v1/subscriptions/{subscription}/resume", { params: { path } });
if (resumed.error) throw new Error(resumed.error.detail);
const moved = await sidespan.POST("/v1/subscriptions/{subscription}/seek", { params: { path }, body: { to: "begin" } });
if (moved.error) throw new Error(moved.error.detail);
const ended = await sidespan.DELETE("/v1/subscriptions/{subscription}", { params: { path } });
if (ended.error) throw new Error(ended.error.detail);
console.log("ended");
