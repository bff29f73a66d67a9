import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.standardwebhooks.Webhook;
import com.standardwebhooks.exceptions.WebhookVerificationException;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;

/** Receives orders as signed webhooks. WEBHOOK_SECRET is what Sidespan signs with; PORT is 8080. */
public class Receive {
    static final int LARGEST_BODY = 1 << 20;
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        var webhook = new Webhook(System.getenv("WEBHOOK_SECRET"));
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8080"));
        var server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/events", exchange -> {
            int status = receive(webhook, exchange);
            exchange.sendResponseHeaders(status, -1);
            exchange.close();
        });
        server.start();
    }

    static int receive(Webhook webhook, HttpExchange exchange) throws java.io.IOException {
        byte[] body = exchange.getRequestBody().readNBytes(LARGEST_BODY + 1);
        if (body.length > LARGEST_BODY) {
            return 413; // goes to the dead letters
        }
        try {
            webhook.verify(new String(body, "UTF-8"), exchange.getRequestHeaders());
        } catch (WebhookVerificationException exception) {
            return 401; // anybody can post here
        }
        var order = JSON.readTree(body);
        // A message may come twice, with the same id: a real service looks it up.
        System.out.println(exchange.getRequestHeaders().getFirst("webhook-id") + " " + order.get("id").asText()
                + " " + order.get("item").asText());
        return 204; // it never comes again; 500 would let it come again
    }
}
