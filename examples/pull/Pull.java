import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

/** Fetches orders and settles them, until it is stopped. */
public class Pull {
    static final String SIDESPAN = System.getenv().getOrDefault("SIDESPAN_URL", "http://127.0.0.1:7400");
    static final HttpClient CLIENT = HttpClient.newHttpClient();
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        while (true) {
            try {
                fetch();
            } catch (IOException exception) {
                System.err.println(exception.getMessage());
                Thread.sleep(1000);
            }
        }
    }

    static void fetch() throws Exception {
        // Waits for the first message, and returns what is there then: maybe nothing.
        var pulled = call("pull", Map.of("max_messages", 10, "wait", "10s"));
        List<String> ids = new ArrayList<>();
        for (var message : pulled.get("messages")) {
            var order = message.get("data");
            System.out.println(message.get("position").asText() + " " + order.get("id").asText() + " "
                    + order.get("item").asText());
            ids.add(message.get("ack_id").asText());
        }
        if (!ids.isEmpty()) {
            // 409: a lease was over before the work was; that message comes again.
            call("ack", Map.of("ack_ids", ids));
        }
    }

    static JsonNode call(String verb, Object body) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(SIDESPAN + "/v1/subscriptions/billing/" + verb))
                .timeout(Duration.ofSeconds(30))
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofString(JSON.writeValueAsString(body)))
                .build();
        var response = CLIENT.send(request, BodyHandlers.ofString());
        var said = JSON.readTree(response.body());
        if (response.statusCode() != 200) {
            throw new IOException(response.statusCode() + ": " + said.get("detail").asText());
        }
        return said;
    }
}
