// What a test asks of the official Java client: commands in, lines out. It runs from its source: `java -cp … Client.java`.

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.signalr.HubConnection;
import com.microsoft.signalr.HubConnectionBuilder;
import com.microsoft.signalr.TransportEnum;
import io.reactivex.rxjava3.core.Single;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;

class Client {
    /** Events of the hub; their arguments are passed on as they come. */
    private static final List<String> EVENTS = List.of(
            "Connected", "MessageCreated", "MessageEdited", "MessageDeleted", "MessagesDeleted", "MemberJoined",
            "MemberChanged", "MembersChanged", "MemberLeft", "RoomChanged", "RoomDeleted", "RoomJoined", "Heads", "Closing");

    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    private HubConnection hub;
    private volatile String token;

    public static void main(String[] arguments) throws Exception {
        var client = new Client();
        var commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = commands.readLine()) != null; ) {
            client.obey(JsonParser.parseString(line).getAsJsonObject());
        }
        System.exit(0); // its HTTP client has threads of its own
    }

    private void obey(JsonObject command) {
        int id = command.get("id").getAsInt();
        switch (command.get("do").getAsString()) {
            case "connect" -> connect(id, command);
            case "invoke" -> hub.invoke(JsonElement.class, method(command), command.get("argument"))
                    .subscribe(result -> answer(id, result), error -> fail(id, error));
            case "stream" -> {
                var items = new JsonArray();
                hub.stream(JsonElement.class, method(command), command.get("argument"))
                        .subscribe(items::add, error -> fail(id, error), () -> answer(id, items));
            }
            case "token" -> {
                token = command.get("token").getAsString();
                answer(id, JsonNull.INSTANCE);
            }
            case "stop" -> hub.stop().subscribe(() -> answer(id, JsonNull.INSTANCE), error -> fail(id, error));
            default -> throw new IllegalArgumentException(command.toString());
        }
    }

    private void connect(int id, JsonObject command) {
        token = command.get("token").getAsString();
        var transport = switch (command.get("transport").getAsString()) {
            case "WebSockets" -> TransportEnum.WEBSOCKETS;
            case "LongPolling" -> TransportEnum.LONG_POLLING;
            default -> throw new IllegalArgumentException("the Java client has no such transport");
        };
        hub = HubConnectionBuilder.create(command.get("url").getAsString())
                .withTransport(transport)
                .withAccessTokenProvider(Single.defer(() -> Single.just(token)))
                .build();
        for (String event : EVENTS) {
            hub.on(event, argument -> event(event, argument), JsonElement.class);
        }
        hub.onClosed(error -> {
            var line = new JsonObject();
            line.addProperty("state", "closed");
            line.addProperty("error", error == null ? null : error.getMessage());
            say(line);
        });
        hub.start().subscribe(() -> answer(id, JsonNull.INSTANCE), error -> fail(id, error));
    }

    private static String method(JsonObject command) {
        return command.get("method").getAsString();
    }

    private static void event(String name, JsonElement argument) {
        var arguments = new JsonArray();
        arguments.add(argument);
        var line = new JsonObject();
        line.addProperty("event", name);
        line.add("arguments", arguments);
        say(line);
    }

    private static void answer(int id, JsonElement result) {
        var line = new JsonObject();
        line.addProperty("answer", id);
        line.add("result", result);
        say(line);
    }

    private static void fail(int id, Throwable error) {
        var line = new JsonObject();
        line.addProperty("answer", id);
        line.addProperty("error", String.valueOf(error.getMessage()));
        say(line);
    }

    private static synchronized void say(JsonObject line) {
        OUT.println(new Gson().toJson(line));
    }
}
