import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.springframework.cache.concurrent.ConcurrentMapCache;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;

class Spring {
    public static void main(String[] arguments) throws Exception {
        var decoder = NimbusJwtDecoder.withJwkSetUri(Lines.JWKS_URI).jwsAlgorithm(SignatureAlgorithm.RS256).validateType(false);
        if (Lines.DIVISOR > 1) {
            // Its default of 5 minutes cannot be set; a cache of the application's own replaces it. A set is cached for a second at least.
            var cache = new ConcurrentMapCache("jwks");
            long cached = Math.max(300_000 / Lines.DIVISOR, 1000);
            Executors.newSingleThreadScheduledExecutor().scheduleAtFixedRate(cache::clear, cached, cached, TimeUnit.MILLISECONDS);
            decoder.cache(cache);
        }
        var built = decoder.build();
        built.setJwtValidator(JwtValidators.createAtJwtValidator().issuer(Lines.ISSUER).audience(Lines.AUDIENCE).build());
        Lines.verifyEach(built::decode);
    }
}
