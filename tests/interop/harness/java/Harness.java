import com.nimbusds.jose.util.JSONObjectUtils;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/** Asks the snippet about each token: a line of JSON in, a line of JSON out. */
public class Harness {
    public static void main(String[] arguments) throws Exception {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Map<String, Object> asked = JSONObjectUtils.parse(line);
            Map<String, Object> answer = new HashMap<>(Map.of("name", asked.get("name"), "status", 200));
            String scope = (String) asked.get("scope");
            try {
                var claims = new HashMap<>(AccessTokens.check((String) asked.get("token"), scope));
                // Times are objects here, which JSON has not.
                claims.replaceAll((name, value) -> value instanceof String || value instanceof Number ? value : String.valueOf(value));
                answer.put("claims", claims);
            } catch (Exception error) {
                AccessTokens.Refusal refusal = AccessTokens.refusal(error, scope);
                answer.put("status", refusal.status());
                answer.put("headers", refusal.headers());
                String said = error.toString();
                answer.put("error", said.substring(0, Math.min(300, said.length())));
            }
            System.out.println(JSONObjectUtils.toJSONString(answer));
            System.out.flush();
        }
        System.exit(0); // a library's thread that waits for the next fetch would hold the process
    }
}
