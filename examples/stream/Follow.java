import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.HashMap;
import java.util.Map;

import com.fasterxml.jackson.databind.ObjectMapper;

/** Follows the orders from the beginning, as server-sent events, until it is stopped. */
public class Follow {
    static final String SIDESPAN = System.getenv().getOrDefault("SIDESPAN_URL", "http://127.0.0.1:7400");
    static final HttpClient CLIENT = HttpClient.newHttpClient();
    static final ObjectMapper JSON = new ObjectMapper();

    /** Where to go on after a break; kept in a file, it survives a restart too. */
    static String lastId;

    public static void main(String[] arguments) throws Exception {
        while (true) {
            try {
                follow();
            } catch (IOException | java.io.UncheckedIOException exception) {
                System.err.println("the connection broke: " + exception.getMessage());
            }
            Thread.sleep(1000);
        }
    }

    /** Prints messages until the stream ends. */
    static void follow() throws Exception {
        var request = HttpRequest.newBuilder(URI.create(SIDESPAN + "/v1/topics/orders/stream?start=begin"));
        if (lastId != null) {
            request.header("Last-Event-ID", lastId);
        }
        var response = CLIENT.send(request.build(), BodyHandlers.ofLines());
        if (response.statusCode() != 200) {
            throw new IOException("refused with " + response.statusCode());
        }
        Map<String, String> event = new HashMap<>();
        for (var line : (Iterable<String>) response.body()::iterator) {
            if (line.isEmpty()) {
                take(event);
                lastId = event.getOrDefault("id", lastId);
                event.clear();
            } else if (!line.startsWith(":")) {
                var parts = line.split(": ?", 2);
                event.put(parts[0], parts[1]);
            }
        }
    }

    static void take(Map<String, String> event) throws IOException {
        var data = event.get("data");
        if (data == null) {
            return; // the place where the stream opened
        }
        if ("error".equals(event.get("event"))) {
            throw new IOException("the stream ended: " + data);
        }
        var message = JSON.readTree(data);
        var order = message.get("data");
        System.out.println(message.get("position").asText() + " " + order.get("id").asText() + " "
                + order.get("item").asText());
    }
}
