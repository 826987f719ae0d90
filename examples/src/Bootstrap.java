import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URL;

/**
 * The Lambda Runtime API in Java, with nothing but its class library: answers every event with itself.
 * A real function brings AWS's runtime interface client, whose main class runs just so.
 */
public final class Bootstrap {
    private static final String API =
        "http://" + System.getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/";

    public static void main(String[] arguments) throws IOException {
        while (true) {
            HttpURLConnection next = (HttpURLConnection) new URL(API + "next").openConnection();
            byte[] event;
            try (InputStream body = next.getInputStream()) {
                event = body.readAllBytes();
            }
            answer(next.getHeaderField("Lambda-Runtime-Aws-Request-Id"), event);
        }
    }

    private static void answer(String id, byte[] value) throws IOException {
        HttpURLConnection response = (HttpURLConnection) new URL(API + id + "/response").openConnection();
        response.setRequestMethod("POST");
        response.setDoOutput(true);
        try (OutputStream body = response.getOutputStream()) {
            body.write(value);
        }
        response.getResponseCode();
    }
}
