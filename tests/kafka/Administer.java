import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** Does what the lines of its input say to the brokers of its argument; see Kafka::administer. Passwords stay off the command line. */
class Administer {
    private static final int ITERATIONS = 4096;

    public static void main(String[] arguments) throws Exception {
        var properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        try (var admin = Admin.create(properties); var lines = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line; (line = lines.readLine()) != null; ) {
                if (!line.isBlank()) {
                    act(admin, line.strip().split(" "));
                }
            }
        }
    }

    private static void act(Admin admin, String[] words) throws Exception {
        switch (words[0]) {
            case "user" -> {
                var kind = new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS);
                var user = new UserScramCredentialUpsertion(words[1], kind, words[2]);
                admin.alterUserScramCredentials(List.of(user)).all().get();
            }
            case "allow" -> {
                var type = ResourceType.fromString(words[2]);
                var pattern = words[3].equals("prefix") ? PatternType.PREFIXED : PatternType.LITERAL;
                var resource = new ResourcePattern(type, words[4], pattern);
                for (int i = 5; i < words.length; i++) {
                    // Strimzi writes DescribeConfigs, and Kafka knows DESCRIBE_CONFIGS.
                    var name = words[i].replaceAll("(?<=[a-z])(?=[A-Z])", "_");
                    var operation = AclOperation.fromString(name);
                    var entry = new AccessControlEntry("User:" + words[1], "*", operation, AclPermissionType.ALLOW);
                    admin.createAcls(List.of(new AclBinding(resource, entry))).all().get();
                }
            }
            case "topic" -> {
                Map<String, String> configs = new HashMap<>();
                for (int i = 3; i < words.length; i++) {
                    var pair = words[i].split("=", 2);
                    configs.put(pair[0], pair[1]);
                }
                var topic = new NewTopic(words[1], Optional.of(Integer.valueOf(words[2])), Optional.empty());
                admin.createTopics(List.of(topic.configs(configs))).all().get();
            }
            default -> throw new IllegalArgumentException("what is " + words[0] + "?");
        }
    }
}
