import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;

/** Takes orders over a WebSocket and settles them, until it is stopped. */
public class Consume implements WebSocket.Listener {
    static final String SIDESPAN = System.getenv().getOrDefault("SIDESPAN_URL", "http://127.0.0.1:7400");
    static final ObjectMapper JSON = new ObjectMapper();
    /** Messages that may be on their way. */
    static final int WINDOW = 100;

    private final StringBuilder frame = new StringBuilder();
    private final CompletableFuture<Void> closed = new CompletableFuture<>();

    public static void main(String[] arguments) throws Exception {
        var url = URI.create(SIDESPAN.replaceFirst("http", "ws") + "/v1/subscriptions/billing/stream");
        var consume = new Consume();
        HttpClient.newHttpClient().newWebSocketBuilder().subprotocols("sidespan.v1.json").buildAsync(url, consume)
                .join();
        consume.closed.join();
    }

    @Override
    public void onOpen(WebSocket socket) {
        send(socket, Map.of("type", "credit", "messages", WINDOW));
        socket.request(1);
    }

    @Override
    public CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean last) {
        frame.append(part);
        if (last) {
            take(socket, frame.toString());
            frame.setLength(0);
        }
        socket.request(1);
        return null;
    }

    @Override
    public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
        System.err.println("closed with " + code + "; what is not settled comes again");
        closed.complete(null);
        return null;
    }

    @Override
    public void onError(WebSocket socket, Throwable error) {
        closed.completeExceptionally(error);
    }

    private void take(WebSocket socket, String text) {
        try {
            var answer = JSON.readTree(text);
            if (!answer.get("type").asText().equals("message")) {
                System.err.println(text); // such as a verdict that was not taken
                return;
            }
            var message = answer.get("message");
            var order = message.get("data");
            System.out.println(message.get("position").asText() + " " + order.get("id").asText() + " "
                    + order.get("item").asText());
            send(socket, Map.of("type", "ack", "ack_ids", List.of(message.get("ack_id").asText())));
            send(socket, Map.of("type", "credit", "messages", 1));
        } catch (JsonProcessingException exception) {
            onError(socket, exception);
        }
    }

    private void send(WebSocket socket, Map<String, Object> frame) {
        try {
            socket.sendText(JSON.writeValueAsString(frame), true).join();
        } catch (JsonProcessingException exception) {
            onError(socket, exception);
        }
    }
}
