// Receives orders as signed webhooks. WEBHOOK_SECRET is what Sidespan signs with; PORT is 8080.

import { createServer, type IncomingMessage } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.WEBHOOK_SECRET ?? "");
const LARGEST_BODY = 1 << 20;

const server = createServer(async (request, response) => {
  response.statusCode = await receive(request);
  response.end();
});
server.listen(Number(process.env.PORT ?? 8080), "127.0.0.1");

async function receive(request: IncomingMessage): Promise<number> {
  let body = "";
  for await (const piece of request.setEncoding("utf8")) {
    body += piece;
    if (body.length > LARGEST_BODY) return 413; // goes to the dead letters
  }
  let order: { id: string; item: string };
  try {
    order = webhook.verify(body, request.headers as Record<string, string>) as typeof order;
  } catch {
    return 401; // anybody can post here
  }
  // A message may come twice, with the same id: a real service looks it up.
  console.log(request.headers["webhook-id"], order.id, order.item);
  return 204; // it never comes again; 500 would let it come again
}
