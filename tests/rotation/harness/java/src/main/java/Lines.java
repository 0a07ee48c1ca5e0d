import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;

/** Verifies each token of standard input: a line {@code NUMBER TOKEN} in, a line {@code NUMBER ACCEPTED REFUSED REASON} out. */
class Lines {
    static final String ISSUER = System.getenv("ISSUER"), AUDIENCE = System.getenv("AUDIENCE"), JWKS_URI = System.getenv("JWKS_URI");
    /** By how much the times of the issuer are divided; 1 means that they are not. */
    static final long DIVISOR = Long.parseLong(System.getenv("DIVISOR"));

    interface Verifier {
        void verify(String token) throws Exception;
    }

    static void verifyEach(Verifier verifier) throws Exception {
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            int space = line.indexOf(' ');
            String answer = " 1 0";
            try {
                verifier.verify(line.substring(space + 1));
            } catch (Exception error) {
                answer = " 0 1 " + error.toString().replace('\n', ' ');
            }
            System.out.println(line.substring(0, space) + answer);
            System.out.flush();
        }
        System.exit(0); // a library's thread that waits for the next fetch would hold the process
    }
}
