import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

/** Publishes an order: Publish.java ID ITEM */
public class Publish {
    static final String SIDESPAN = System.getenv().getOrDefault("SIDESPAN_URL", "http://127.0.0.1:7400");
    static final HttpClient CLIENT = HttpClient.newHttpClient();
    static final ObjectMapper JSON = new ObjectMapper();

    record Order(String id, String item) {}

    public static void main(String[] arguments) throws Exception {
        var order = new Order(arguments[0], arguments[1]);
        var request = HttpRequest.newBuilder(URI.create(SIDESPAN + "/v1/topics/orders/messages"))
                .timeout(Duration.ofSeconds(15))
                .header("Content-Type", "application/json")
                .header("Sidespan-Key", order.id())
                .header("Idempotency-Key", '"' + order.id() + '"')
                .POST(BodyPublishers.ofString(JSON.writeValueAsString(order)))
                .build();
        var response = CLIENT.send(request, BodyHandlers.ofString());
        JsonNode said = JSON.readTree(response.body());
        if (response.statusCode() != 200) {
            System.err.printf("%s: %s (retry: %s)%n", said.get("code").asText(), said.get("detail").asText(),
                    said.get("retryable"));
            System.exit(1);
        }
        System.out.println(said);
    }
}
