// Follows the orders from the beginning, as server-sent events, until it is stopped. In a browser,
// EventSource is there already, and `allowed_origins` has to list the page's origin.

import { EventSource } from "eventsource";
import type { components } from "../sidespan.js"; // npm run generate makes it from the OpenAPI document

type Message = components["schemas"]["ReceivedMessage"];

const sidespan = process.env.SIDESPAN_URL ?? "http://127.0.0.1:7400";
// It comes back by itself after a break, with the id of the last event.
const events = new EventSource(`${sidespan}/v1/topics/orders/stream?start=begin`);

events.addEventListener("message", ({ data }) => {
  const message = JSON.parse(data) as Message;
  const order = message.data as { id: string; item: string };
  console.log(message.position, order.id, order.item);
});
events.addEventListener("error", (event) => {
  if (event.code) {
    console.error(`refused with ${event.code}`);
    events.close();
  }
});
