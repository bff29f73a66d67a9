// Takes orders over a WebSocket and settles them, until it is stopped. In a browser, WebSocket is there
// already, and `allowed_origins` has to list the page's origin.

import WebSocket from "ws";
import type { components } from "../sidespan.js"; // npm run generate makes it from the OpenAPI document

type Frame = components["schemas"]["ConsumerFrame"];
type Answer = components["schemas"]["ConsumerAnswer"];

const WINDOW = 100; // messages that may be on their way
const sidespan = (process.env.SIDESPAN_URL ?? "http://127.0.0.1:7400").replace("http", "ws");
const socket = new WebSocket(`${sidespan}/v1/subscriptions/billing/stream`, "sidespan.v1.json");
const send = (frame: Frame) => socket.send(JSON.stringify(frame));

socket.on("open", () => send({ type: "credit", messages: WINDOW }));
socket.on("message", (text: Buffer) => {
  const answer = JSON.parse(text.toString()) as Answer;
  switch (answer.type) {
    case "message": {
      const { position, ack_id, data } = answer.message;
      const order = data as { id: string; item: string };
      console.log(position, order.id, order.item);
      if (ack_id) send({ type: "ack", ack_ids: [ack_id] });
      send({ type: "credit", messages: 1 });
      break;
    }
    case "error":
    case "draining":
    case "settled": // an ack without a `seq` is answered only if it was not taken: that message comes again
      console.error(text.toString());
  }
});
socket.on("error", (error) => console.error(error.message));
socket.on("close", (code) => console.error(`closed with ${code}; what is not settled comes again`));
