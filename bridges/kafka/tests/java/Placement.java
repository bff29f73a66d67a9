import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** Reads keys in hexadecimal, one a line, and prints the partition that Kafka's own producer gives each. */
class Placement {
    public static void main(String[] args) throws Exception {
        int partitions = Integer.parseInt(args[0]);
        var keys = new BufferedReader(new InputStreamReader(System.in));
        for (String key = keys.readLine(); key != null; key = keys.readLine()) {
            byte[] bytes = HexFormat.of().parseHex(key);
            System.out.println(BuiltInPartitioner.partitionForKey(bytes, partitions));
        }
    }
}
