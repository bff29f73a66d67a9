// Publishes an order by gRPC: publish.ts ID ITEM

import { createChannel, createClientFactory } from "nice-grpc";
import { ErrorInfo, RichClientError, errorDetailsClientMiddleware } from "nice-grpc-error-details";
import { PublisherDefinition } from "./typescript/sidespan/v1/publisher.js"; // buf makes it from proto/

const [id = "", item = ""] = process.argv.slice(2);
const channel = createChannel(process.env.SIDESPAN_URL ?? "http://127.0.0.1:7400");
const publisher = createClientFactory().use(errorDetailsClientMiddleware).create(PublisherDefinition, channel);

const bytes = new TextEncoder();
const message = {
  topic: "orders",
  id, // makes it safe to send again what may have been stored
  key: bytes.encode(id),
  contentType: "application/json",
  payload: bytes.encode(JSON.stringify({ id, item })),
};
try {
  const { outcomes } = await publisher.publish({ messages: [message] }, { signal: AbortSignal.timeout(15_000) });
  console.log("stored at", outcomes[0]?.receipt?.position);
} catch (error) {
  if (!(error instanceof RichClientError)) throw error;
  const reasons = error.extra.flatMap((detail) => (detail.$type === ErrorInfo.$type ? [detail.reason] : []));
  console.error(`${reasons.join(" ")}: ${error.details}`);
  process.exitCode = 1;
} finally {
  channel.close();
}
