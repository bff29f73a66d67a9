import java.util.Map;
import java.util.concurrent.TimeUnit;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.protobuf.ByteString;
import com.google.rpc.ErrorInfo;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import sidespan.v1.MessageOuterClass.Message;
import sidespan.v1.PublisherGrpc;
import sidespan.v1.PublisherOuterClass.PublishRequest;

/** Publishes an order by gRPC: Publish.java ID ITEM */
public class Publish {
    static final String TARGET =
            System.getenv().getOrDefault("SIDESPAN_URL", "http://127.0.0.1:7400").replaceFirst("^http://", "");

    public static void main(String[] arguments) throws Exception {
        var id = arguments[0];
        var order = new ObjectMapper().writeValueAsBytes(Map.of("id", id, "item", arguments[1]));
        var message = Message.newBuilder()
                .setTopic("orders")
                .setId(id) // makes it safe to send again what may have been stored
                .setKey(ByteString.copyFromUtf8(id))
                .setContentType("application/json")
                .setPayload(ByteString.copyFrom(order));
        var channel = Grpc.newChannelBuilder(TARGET, InsecureChannelCredentials.create()).build();
        try {
            var answer = PublisherGrpc.newBlockingStub(channel)
                    .withDeadlineAfter(15, TimeUnit.SECONDS)
                    .publish(PublishRequest.newBuilder().addMessages(message).build());
            System.out.println("stored at " + answer.getOutcomes(0).getReceipt().getPosition());
        } catch (StatusRuntimeException exception) {
            System.err.println(reason(exception) + ": " + exception.getStatus().getDescription());
            System.exit(1);
        } finally {
            channel.shutdownNow();
        }
    }

    /** What to branch on, such as UNKNOWN_TOPIC. */
    static String reason(StatusRuntimeException exception) throws Exception {
        for (var detail : StatusProto.fromThrowable(exception).getDetailsList()) {
            if (detail.is(ErrorInfo.class)) {
                return detail.unpack(ErrorInfo.class).getReason();
            }
        }
        return exception.getStatus().getCode().toString();
    }
}
