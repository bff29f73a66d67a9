// Publishes an order as a CloudEvent in structured mode: publish.ts ID ITEM

import { CloudEvent, HTTP } from "cloudevents";

const [id = "", item = ""] = process.argv.slice(2);
const event = new CloudEvent({
  id,
  source: "/shop",
  type: "com.example.order.placed",
  partitionkey: id,
  datacontenttype: "application/json",
  data: { id, item },
});

const { headers, body } = HTTP.structured(event);
const response = await fetch(`${process.env.SIDESPAN_URL ?? "http://127.0.0.1:7400"}/v1/topics/orders/messages`, {
  method: "POST",
  headers: headers as Record<string, string>,
  body: body as string,
  signal: AbortSignal.timeout(15_000),
});
const answer: any = await response.json();
if (!response.ok) {
  console.error(`${answer.code}: ${answer.detail} (retry: ${answer.retryable})`);
  process.exit(1);
}
console.log(JSON.stringify(answer));
